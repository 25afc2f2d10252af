"""The shim moves the time of day of a process, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.clocks.clock import HOUR, SHIM, Clock
from tests.faults.system import preload

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="loads a library with LD_PRELOAD"),
    pytest.mark.needs(preload.COMPILER),
]
TELL = """
import datetime, sys, time
for _ in sys.stdin:
    print(time.time(), datetime.datetime.now().timestamp(), time.monotonic(), flush=True)
"""


class Child:
    """A process whose clock is `clock`. `ask`: by how many seconds its clocks differ from ours."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock(folder, HOUR)
        environment = {**os.environ, "LD_PRELOAD": str(preload.build(SHIM, folder)), **self.clock.variables}
        self._process = subprocess.Popen(
            [sys.executable, "-c", TELL], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self) -> list[float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        told = [float(word) for word in self._process.stdout.readline().split()]
        return [theirs - ours for theirs, ours in zip(told, (time.time(), time.time(), time.monotonic()), strict=True)]

    def stop(self) -> None:
        self._process.communicate(timeout=10)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    child = Child(tmp_path)
    yield child
    child.stop()


def test_the_time_of_day_is_off_and_can_be_set_anew(child: Child) -> None:
    assert child.ask() == pytest.approx([HOUR, HOUR, 0], abs=5)
    child.clock.set(-HOUR)
    assert child.ask() == pytest.approx([-HOUR, -HOUR, 0], abs=5)
    child.clock.set(0)
    assert child.ask() == pytest.approx([0, 0, 0], abs=5)


def test_what_does_not_compile_says_why(tmp_path: Path) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("no C")
    with pytest.raises(RuntimeError, match="unknown type name"):
        preload.build(source, tmp_path)

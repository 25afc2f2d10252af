"""How the tests themselves run: turns of parallel processes, and tools that are missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.session.tools import lacking, missing, need
from tests.support.session.turns import Turns

PATIENCE = 10.0


class Taker:
    """Takes a turn in a thread, and keeps it until `leave`. Locks of two open files exclude each other in a process."""

    def __init__(self, folder: Path, *, alone: bool) -> None:
        self._turns, self._alone = Turns(folder), alone
        self._leave = threading.Event()
        self.inside = threading.Event()
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        with self._turns.take(alone=self._alone):
            self.inside.set()
            self._leave.wait(PATIENCE)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_turns_are_shared_unless_one_is_taken_alone(tmp_path: Path, stack: ExitStack) -> None:
    def taker(*, alone: bool = False) -> Taker:
        made = Taker(tmp_path, alone=alone)
        stack.callback(made.leave)
        return made

    first, second = taker(), taker()
    assert first.inside.wait(PATIENCE)
    assert second.inside.wait(PATIENCE)
    serial = taker(alone=True)
    first.leave()
    assert not serial.inside.is_set()
    second.leave()
    assert serial.inside.wait(PATIENCE)
    third = taker()
    assert not third.inside.is_set()
    serial.leave()
    assert third.inside.wait(PATIENCE)


def test_a_missing_tool_skips_the_test_but_fails_it_where_ci_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing("sh", "no-such-tool") == ["no-such-tool"]
    need("sh")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^no-such-tool must be installed$"):
        need("sh", "no-such-tool")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="where CI is set"):
        lacking("a thing must be installed")

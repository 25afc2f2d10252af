"""The ledger: many writers, no line lost or mixed, and a line that a kill cut off takes no other with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.faults.evidence.ledger import Ended, Ledger, Started, Tail, read
from tests.faults.system.rig import ROOT

LINES = 300
WRITER = f"""
import sys
from pathlib import Path
from tests.faults.evidence.ledger import Ended, Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range({LINES}):
    ledger.write(Ended(number, "j" * 200, sys.argv[2], "ok", number))
"""


def started(job: str, token: str = "1.a") -> Started:
    return Started(1, job, "loop", 1, token, 7)


def ended(job: str, token: str = "1.a") -> Ended:
    return Ended(2, job, token, "ok", 7)


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], cwd=ROOT) for name in ("a", "b", "c")]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    events = [event for event in read(path) if isinstance(event, Ended)]
    for name in ("a", "b", "c"):
        assert [event.at for event in events if event.token == name] == list(range(LINES))


def test_what_is_in_flight_has_started_and_not_ended(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    tail = Tail(ledger.path)
    assert tail.in_flight() == []
    for event in (started("one"), started("two"), started("two", "2.b"), ended("two")):
        ledger.write(event)
    assert [(event.job, event.token) for event in tail.in_flight()] == [("one", "1.a"), ("two", "2.b")]
    ledger.write(ended("one"))
    assert list(tail.new()) == [ended("one")]
    assert [event.job for event in tail.in_flight()] == ["two"]
    ledger.close()


def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    line = msgspec.json.encode(started("one")) + b"\n"
    path.write_bytes(line + line[:40] + line + line[:-1])
    assert read(path) == [started("one"), started("one")]
    path.write_bytes(b"no json\n")
    with pytest.raises(ValueError, match="not found"):
        read(path)

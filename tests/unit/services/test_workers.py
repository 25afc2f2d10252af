"""What a sign of life tells of workers."""

from __future__ import annotations

import pytest

from queuey.services import workers as roster
from queuey.services.workers import WorkerReport, bounded, report_of_process


def test_a_sign_of_life_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "MAX_REPORTED", 3)
    monkeypatch.setattr(roster, "MAX_IDS", 150)
    many = [str(number) for number in range(120)]
    told = bounded(WorkerReport(f"p{number}", "pull", 0, 120, many, ["mail"]) for number in range(5))
    assert [(one.name, one.busy, len(one.jobs)) for one in told] == [("p0", 120, 100), ("p1", 120, 50), ("p2", 120, 0)]


def test_of_a_replica_a_hundred_jobs_are_named_and_all_counted() -> None:
    running = {f"j{number}": None for number in range(250)}
    told = report_of_process("r1", 300, running, ("mail",), ["b", "a"])
    assert (told.kind, told.slots, told.busy, told.queues, told.types) == ("process", 300, 250, ["mail"], ["a", "b"])
    assert told.jobs == [f"j{number}" for number in range(100)]

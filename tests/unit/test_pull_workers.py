"""The register of those who pull jobs: who was seen, what they hold, and its bounds."""

from __future__ import annotations

import pytest

from queuey import pull_workers
from queuey.pull_workers import PullWorkers


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pull_workers, "time", clock)
    return clock


def test_a_worker_is_told_of_for_a_minute_after_its_last_request(clock: Clock) -> None:
    workers = PullWorkers()
    workers.seen("a", ["x"])
    clock.now += 59
    workers.seen("b", ["y"])
    workers.seen("b", ["z"])
    assert [(row.name, row.queues, row.started_at) for row in workers.rows()] == [
        ("a", ["x"], 1000),
        ("b", ["z"], 1059),
    ]
    clock.now += 2
    assert [row.name for row in workers.rows()] == ["b"]


def test_what_it_holds_keeps_it_until_the_lease_is_over(clock: Clock) -> None:
    workers = PullWorkers()
    workers.seen("a", ["x"])
    workers.leased("a", ["1", "2", "3"], 100)
    workers.ended("2")
    workers.ended("unknown")
    clock.now += 90
    workers.extended("3", 100)
    workers.extended("unknown", 100)
    clock.now += 70
    (row,) = workers.rows()
    assert (row.busy, row.jobs, row.last_seen) == (1, ["3"], 1090)
    clock.now += 100
    assert workers.rows() == []


def test_a_job_that_another_got_is_the_others(clock: Clock) -> None:
    workers = PullWorkers()
    for name in ("a", "b"):
        workers.seen(name, ["x"])
        workers.leased(name, ["1"], 10)
    workers.ended("1")
    assert [row.busy for row in workers.rows()] == [1, 0]
    clock.now += 11
    assert [row.busy for row in workers.rows()] == [0, 0]


def test_who_holds_a_job_with_crashes_does_so_until_it_is_over_or_its_lease_is(clock: Clock) -> None:
    workers = PullWorkers()
    assert not workers.holds_crashed("a")
    workers.seen("a", ["x"])
    workers.leased("a", ["1", "2"], 10, {"2"})
    workers.ended("1")
    assert workers.holds_crashed("a")
    workers.ended("2")
    assert not workers.holds_crashed("a")
    workers.leased("a", ["3"], 10, {"3"})
    clock.now += 9
    workers.extended("3", 10)
    clock.now += 9
    assert workers.holds_crashed("a")
    clock.now += 2
    assert not workers.holds_crashed("a")
    assert workers.rows()[0].busy == 0
    assert not workers.holds_crashed("a")


def test_there_are_bounds(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_workers, "MAX_WORKERS", 2)
    monkeypatch.setattr(pull_workers, "MAX_HELD", 150)
    workers = PullWorkers()
    for name in ("a", "b"):
        workers.seen(name, ["x"])
        workers.leased(name, [f"{name}{number}" for number in range(100)], 10)
    assert [(row.busy, len(row.jobs)) for row in workers.rows()] == [(100, 100), (50, 50)]
    workers.seen("c", ["x"])
    assert [row.name for row in workers.rows()] == ["b", "c"]
    workers.leased("c", [str(number) for number in range(100)], 10)
    assert workers.rows()[1].busy == 100


def test_the_quiet_ones_are_those_that_were_named_last() -> None:
    workers = PullWorkers()
    workers.seen("a", ["x"])
    workers.set_quiet(["a", "b"])
    assert (workers.is_quiet("a"), workers.is_quiet("c")) == (True, False)
    assert [row.quiet for row in workers.rows()] == [True]
    workers.set_quiet(["b"])
    assert not workers.is_quiet("a")

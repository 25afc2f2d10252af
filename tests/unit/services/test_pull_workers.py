"""The register of those who pull jobs: who was seen, what they hold, and its bounds."""

from __future__ import annotations

import pytest

from queuey.services.leases import pull_workers
from queuey.services.leases.pull_workers import PullWorkers


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
    workers.seen("a", "k", ["x"])
    clock.now += 59
    workers.seen("b", "k", ["y"])
    workers.seen("b", "k", ["z"])
    assert [(row.name, row.queues, row.started_at) for row in workers.rows()] == [
        ("a", ["x"], 1000),
        ("b", ["y", "z"], 1059),
    ]
    clock.now += 2
    assert [row.name for row in workers.rows()] == ["b"]


def test_what_it_holds_keeps_it_until_the_lease_is_over(clock: Clock) -> None:
    workers = PullWorkers()
    workers.seen("a", "k", ["x"])
    workers.leased("k/a", [(job_id, "x") for job_id in "123"], 100)
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
        workers.seen(name, "k", ["x"])
        workers.leased(f"k/{name}", [("1", "x")], 10)
    workers.ended("1")
    assert [row.busy for row in workers.rows()] == [1, 0]
    clock.now += 11
    assert [row.busy for row in workers.rows()] == [0, 0]


def test_who_holds_a_job_with_crashes_does_so_until_it_is_over_or_its_lease_is(clock: Clock) -> None:
    workers = PullWorkers()
    assert not workers.holds_crashed("k/a")
    workers.seen("a", "k", ["x"])
    workers.leased("k/a", [("1", "x"), ("2", "x")], 10, {"2": 0.0})
    workers.ended("1")
    assert workers.holds_crashed("k/a")
    assert workers.runs_alone("k/a") is None
    workers.ended("2")
    assert not workers.holds_crashed("k/a")
    workers.leased("k/a", [("3", "x")], 10, {"3": 5.0})
    assert (workers.runs_alone("k/a"), workers.held_by("k/a")) == ("3", ["3"])
    clock.now += 9
    assert workers.runs_alone("k/a") is None
    workers.extended("3", 10)
    clock.now += 9
    assert workers.holds_crashed("k/a")
    clock.now += 2
    assert not workers.holds_crashed("k/a")
    assert workers.rows()[0].busy == 0
    assert not workers.holds_crashed("k/a")


def test_there_are_bounds(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_workers, "MAX_WORKERS", 2)
    monkeypatch.setattr(pull_workers, "MAX_HELD", 150)
    workers = PullWorkers()
    for name in ("a", "b"):
        workers.seen(name, "k", ["x"])
        workers.leased(f"k/{name}", [(f"{name}{number}", "x") for number in range(100)], 10)
    assert [(row.busy, len(row.jobs)) for row in workers.rows()] == [(100, 100), (50, 50)]
    workers.seen("c", "k", ["x"])
    assert [row.name for row in workers.rows()] == ["b", "c"]
    workers.leased("k/c", [(str(number), "x") for number in range(100)], 10)
    assert workers.rows()[1].busy == 100


def test_the_quiet_ones_are_those_that_were_named_last() -> None:
    workers = PullWorkers()
    workers.seen("a", "k", ["x"])
    workers.set_quiet(["k/a", "k/b"])
    assert (workers.is_quiet("k/a"), workers.is_quiet("k/c")) == (True, False)
    assert [row.quiet for row in workers.rows()] == [True]
    workers.set_quiet(["k/b"])
    assert not workers.is_quiet("k/a")


def test_its_queues_are_those_of_late_those_of_its_last_request_and_those_of_its_jobs(clock: Clock) -> None:
    workers = PullWorkers()
    mark = workers.seen("a", "k", ["held", "old"])
    workers.leased(mark, [("1", "held")], 300)
    clock.now += 50
    workers.seen("a", "k", ["new"])
    assert workers.rows()[0].queues == ["held", "old", "new"]
    clock.now += 100
    assert workers.rows()[0].queues == ["new", "held"]
    workers.extended("1", 300)
    workers.ended("1")
    assert workers.rows()[0].queues == ["new"]


def test_the_queues_of_one_have_a_bound(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_workers, "MAX_QUEUES", 2)
    workers = PullWorkers()
    workers.seen("a", "k", ["x", "y"])
    workers.seen("a", "k", ["x", "z"])
    assert workers.rows()[0].queues == ["x", "z"]


def test_one_name_with_two_keys_is_two_workers() -> None:
    workers = PullWorkers()
    mine, other = workers.seen("a", "mine", ["x"]), workers.seen("a", "other", ["y"])
    workers.leased(mine, [("1", "x")], 10)
    workers.set_quiet([other])
    rows = [(row.key, row.name, row.queues, row.jobs, row.quiet) for row in workers.rows()]
    assert rows == [("mine", "a", ["x"], ["1"], False), ("other", "a", ["y"], [], True)]
    assert (workers.is_quiet(mine), workers.is_quiet(other)) == (False, True)


def test_its_app_and_the_queues_of_its_types_are_those_of_its_last_request(clock: Clock) -> None:
    workers = PullWorkers()
    workers.seen("a", "k", ["x", "y"], frozenset("tu"), "shop", {"x": ["t"]})
    (row,) = workers.rows()
    assert (row.types, row.app, row.type_queues) == (["t", "u"], "shop", {"x": ["t"]})
    workers.seen("a", "k", ["x"], frozenset("tu"))
    (row,) = workers.rows()
    assert (row.app, row.type_queues) == ("", None)


def test_a_full_queue_keeps_its_types_while_the_worker_has_jobs_of_it(clock: Clock) -> None:
    """A worker asks for no jobs of a queue that is full. That is no sign that it does not know its types any more."""
    workers, both = PullWorkers(), {"mail": ["m"], "images": ["i"]}
    key = workers.seen("w", "k", ["mail", "images"], frozenset("mi"), "shop", both)
    workers.leased(key, [("job", "images")], 3600)
    clock.now += 600
    workers.seen("w", "k", ["mail"], frozenset("mi"), "shop", {"mail": ["m", "n"]})
    (row,) = workers.rows()
    assert (row.queues, row.type_queues) == (["mail", "images"], {"mail": ["m", "n"], "images": ["i"]})
    workers.ended("job")
    workers.seen("w", "k", ["mail"], frozenset("mi"), "shop", {"mail": ["m"]})
    (row,) = workers.rows()
    assert (row.queues, row.type_queues) == (["mail"], {"mail": ["m"]})

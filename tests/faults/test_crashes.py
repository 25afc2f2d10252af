"""Which deaths by crashes the suite takes for right."""

from __future__ import annotations

import pytest

from tests.faults.evidence.crashes import DIED, LAPSED, may_be_dead, was_spared
from tests.faults.evidence.history import JobHistory
from tests.faults.evidence.ledger import NO_PROCESS, Started
from tests.faults.load.clients import ALWAYS
from tests.faults.store.view import StoredJob

KILLS = {"kill": True, "fails": ALWAYS}


def stored(status: str, kinds: list[str], **state: object) -> StoredJob:
    fields = {"s": status, "n": str(len(kinds)), "x": str(kinds.count(LAPSED))}
    return StoredJob(0, {"r": "0"}, "loop", fields | {key: str(value) for key, value in state.items()}, kinds=kinds)


def ran(claims: int, pid: int, **deed: object) -> JobHistory:
    """The last claim was run in this process."""
    return JobHistory({"payload": deed}, starts=[Started(0, "j", "loop", 1, f"{claims}.a", pid)])


@pytest.mark.parametrize(
    ("kinds", "pid", "may"),
    [
        ([LAPSED, LAPSED, DIED], 7, True),
        ([LAPSED, DIED], 7, False),
        ([LAPSED] * 3, 7, False),
        ([LAPSED] * 3, NO_PROCESS, True),
        ([LAPSED] * 2, NO_PROCESS, False),
        ([LAPSED] * 9, 7, False),
        ([LAPSED] * 10, 7, True),
        ([LAPSED, LAPSED, "exception"], 7, False),
        ([], 7, False),
    ],
)
def test_a_job_is_dead_by_its_child_or_by_a_pull_worker_that_held_nothing_else(
    kinds: list[str], pid: int, may: bool
) -> None:
    assert may_be_dead(ran(len(kinds), pid, **KILLS), stored("d", kinds)) == may


def test_an_innocent_is_never_dead_by_the_death_of_its_child() -> None:
    assert not may_be_dead(ran(3, 7), stored("d", [LAPSED, LAPSED, DIED]))


def test_a_puller_may_die_before_it_begins_the_job() -> None:
    assert may_be_dead(ran(2, 7), stored("d", [LAPSED] * 3))


@pytest.mark.parametrize(
    ("status", "kinds", "state", "spared"),
    [
        ("d", [LAPSED, LAPSED, DIED], {}, False),
        ("c", [LAPSED, LAPSED, DIED], {}, False),
        ("s", [LAPSED, LAPSED, DIED], {}, True),
        ("d", [LAPSED, LAPSED, DIED, DIED], {}, True),
        ("s", [DIED, LAPSED, LAPSED], {}, False),
        ("s", [LAPSED, DIED, DIED], {}, False),
        ("s", [LAPSED, LAPSED, DIED], {"y": "replay"}, False),
    ],
)
def test_a_proven_job_that_goes_on_is_seen(status: str, kinds: list[str], state: dict[str, str], spared: bool) -> None:
    assert was_spared(stored(status, kinds, **state)) == spared

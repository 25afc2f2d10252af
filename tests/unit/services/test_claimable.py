"""Claimable jobs: the queued jobs without those of types that no worker of their queue takes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import pytest

from queuey.protocol.models import WorkerInfo
from queuey.services.claimable import claimable_jobs, claimable_ms, taken_by, takes_everything
from queuey.services.workers import MAX_TYPES
from queuey.store.replies import QueueHead, QueueRow

AT = datetime(2026, 1, 1, tzinfo=UTC)


def worker(
    *types: str, kind: Literal["process", "pull"] = "process", queue: str = "mail", quiet: bool = False
) -> WorkerInfo:
    return WorkerInfo("w", "r", kind, 1, 0, [], [queue], list(types), AT, quiet, AT, "1")


@pytest.mark.parametrize(
    ("workers", "taken"),
    [
        ([], True),
        ([worker("a", queue="web")], True),
        ([worker("letter", quiet=True)], True),
        ([worker()], False),
        ([worker("a")], False),
        ([worker("a"), worker("letter", quiet=True)], False),
        ([worker("a"), worker("letter", queue="web")], False),
        ([worker("a"), worker("letter")], True),
        ([worker("a", kind="pull")], False),
        ([worker("a"), worker(kind="pull")], True),
        ([worker(kind="pull"), worker("a")], True),
        ([worker(*map(str, range(MAX_TYPES)))], True),
    ],
)
def test_a_type_is_taken(workers: list[WorkerInfo], taken: bool) -> None:
    assert taken_by(workers)("mail", "letter") is taken


def row(*aside: tuple[str, int]) -> QueueRow:
    return QueueRow("mail", "", 1, 5, 2, 10, 10, 10, 10, 0, 0, list(aside))


def test_without_lists_set_aside_all_queued_jobs_are_claimable() -> None:
    assert claimable_jobs(row(), taken_by([worker()])) == 8
    assert claimable_ms("mail", QueueHead(True, "", 0, 7, 7), taken_by([worker()])) == 7
    assert claimable_ms("mail", QueueHead(True, "", 0, -1), takes_everything) == -1


def test_jobs_of_types_that_nobody_takes_are_left_out() -> None:
    takes = taken_by([worker("a", "b")])
    assert claimable_jobs(row(("a", 2), ("letter", 3), ("*", 1)), takes) == 4
    assert claimable_jobs(row(("!", 2), ("letter", 3)), takes) == 5, "suspects are of any type"
    assert claimable_jobs(row(("letter", 9)), takes) == 0, "an entry may be a cancelled job"
    head = QueueHead(True, "", 0, 90, 10, [("a", 20), ("letter", 90), ("b", 5)])
    assert claimable_ms("mail", head, takes) == 20
    assert claimable_ms("mail", head, takes_everything) == 90
    assert claimable_ms("mail", QueueHead(True, "", 0, 90, -1, [("letter", 90)]), takes) == -1

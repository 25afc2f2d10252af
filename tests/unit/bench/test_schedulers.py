"""The comparison of schedulers: what its report makes of the lateness of each job."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import time

import pytest

from bench.peers.environments import CannotInstall
from bench.peers.schedulers.__main__ import MINUTE, PUT_SECONDS, SCHEDULERS, Moment, measure, run, sections

VERSIONS = dict.fromkeys(SCHEDULERS, "1.0")


def figures(late: list[float]) -> dict[str, float]:
    (part,) = sections({"SAQ": late}, {}, 100, VERSIONS)
    return {row.name.removeprefix("SAQ 1.0: "): row.median for row in part.rows}


def test_jobs_that_began_after_the_minute_do_not_count() -> None:
    assert figures([*range(99), 60_001]) == {
        "began within a minute": 99,
        "p50, of these": 49,
        "p99, of these": 98,
        "at most, of these": 98,
    }


def test_where_no_job_began_there_is_no_lateness() -> None:
    assert figures([]) == {"began within a minute": 0}


def test_a_peer_that_could_not_be_measured_is_named_with_the_reason() -> None:
    (_, missing) = sections({}, {"Celery": "npm is not installed"}, 100, VERSIONS)
    assert missing.note == "- Celery: not measured: npm is not installed"


def test_a_peer_that_cannot_be_installed_does_not_keep_the_next_one_from_being_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def missing(_: Moment) -> None:
        raise CannotInstall("npm is missing")

    async def late(moment: Moment) -> None:
        moment.out.write_text("1.5\n2.5\n")

    monkeypatch.setitem(SCHEDULERS, "BullMQ", missing)
    monkeypatch.setitem(SCHEDULERS, "SAQ", late)
    found, rest = asyncio.run(run(["BullMQ", "SAQ"], 2))
    assert [row.median for row in found.rows if "began" in row.name or "at most" in row.name] == [2, 2.5]
    assert rest.note == "- BullMQ: not measured: npm is missing"


def test_all_are_due_at_a_full_minute_with_time_before_it_to_make_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Moment] = []

    async def see(moment: Moment) -> None:
        seen.append(moment)

    monkeypatch.setitem(SCHEDULERS, "SAQ", see)
    before = time()
    assert asyncio.run(measure("SAQ", 7)) == []
    assert seen[0].schedules == 7
    assert seen[0].tick % MINUTE == 0
    assert before + PUT_SECONDS - 1 < seen[0].tick <= time() + PUT_SECONDS + MINUTE


@pytest.mark.parametrize(
    ("lines", "tick"),
    [pytest.param("1\n2\n", 2**33, id="all have begun"), pytest.param("", 0, id="a minute is over")],
)
def test_the_wait_ends(tmp_path: Path, lines: str, tick: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: float) -> None:
        pytest.fail("It waits on.")

    monkeypatch.setattr(asyncio, "sleep", never)
    moment = Moment(tmp_path, 2, tick)
    moment.out.write_text(lines)
    asyncio.run(moment.over())


def test_schedules_that_were_made_too_late_are_no_measure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="upsertJobScheduler took longer than"):
        Moment(tmp_path, 1, 0).check_in_time("upsertJobScheduler")

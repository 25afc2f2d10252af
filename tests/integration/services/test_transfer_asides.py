"""Export and import of a store with lists set aside: lane and lists come into one lane, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuey.services.transfer import exporter as exporting
from queuey.services.transfer.exporter import Exporter
from queuey.services.transfer.file_format import Lane, lines_from, read_whole
from queuey.services.transfer.importer import Importer
from queuey.services.transfer.lane_order import last_to_first
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from tests.support.moving import all_jobs, ignore, lanes
from tests.support.store import SIXTY_FOUR, STARS, Rig

TIMES = "0123456789"


def made_at(rig: Rig, time: str) -> str:
    """An id of the rig's shard that was made at a time; the text of the time has 10 characters."""
    job_id = rig.new_id()
    return job_id[:2] + time.rjust(10, "0") + job_id[12:]


async def moved(rig: Rig, file: Path) -> Broker:
    await rig.broker.replicas.register()
    await Exporter(rig.broker, file, ignore).run(resume=False)
    store = Broker(Shards(rig.client, 1, "target"), rig.scripts)
    await Importer(store, file, read_whole(file), ignore).run(merge=False)
    return store


async def add_in_turn(rig: Rig) -> list[str]:
    """Ten jobs, made one after another: 3 in the lane, and 3, 2 and 2 set aside. Returns their ids."""
    jobs = [made_at(rig, time) for time in TIMES]
    for job_id in jobs:
        await rig.add(id=job_id, now=0)
    await rig.set_aside([jobs[1], jobs[4], jobs[9]], "mail")
    await rig.set_aside([jobs[0], jobs[8]], "report")
    await rig.set_aside([jobs[3], jobs[6]], "*")
    await rig.name_asides(("high", "mail"), ("default", "empty"))
    return jobs


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
async def test_a_lane_and_its_lists_come_into_one_lane_in_order(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(exporting, "LANE_PAGE", page)
    jobs = await add_in_turn(rig)
    low = await rig.add(2, now=0, priority="low")
    await rig.set_aside(low, "mail", lane="low")
    await rig.broker.jobs.cancel(rig.shard, [jobs[6], jobs[7]])
    file = tmp_path / "store.ndjson"
    store = await moved(rig, file)
    written = [line for _, line in lines_from(file) if isinstance(line, Lane) and line.priority == "default"]
    assert [job_id for line in reversed(written) for job_id in line.ids] == jobs
    assert [line.first for line in written] == [-min(end, 10) for end in range(page, 10 + page, page)]
    waiting = [job_id for job_id in jobs if job_id not in (jobs[6], jobs[7])]
    assert await lanes(store, rig.client) == {(0, "default", "default"): waiting, (0, "default", "low"): low}
    assert (await store.queues.stats(0)).queues[0].aside == [], "the new store has no names"
    assert (await all_jobs(store)).keys() == {*jobs, *low}


async def test_each_list_keeps_its_order_though_ids_are_not_in_order(rig: Rig) -> None:
    """A released job is at the head, and a retried one at the tail, whenever they were made."""
    jobs = {time: made_at(rig, time) for time in TIMES[1:7]}
    for time in "613" + "254":
        await rig.add(id=jobs[time])
    await rig.set_aside([jobs[time] for time in "254"], "mail")
    found = [one async for one in last_to_first(rig.broker, rig.shard, "default", "default", ["mail"], 2)]
    order = "".join(time for one in reversed(found) for time in jobs if jobs[time] == one)
    assert [time for time in order if time in "613"] == list("613")
    assert [time for time in order if time in "254"] == list("254")


async def test_lists_without_jobs_are_left_out_and_a_walk_has_an_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await rig.add(3)
    await rig.name_asides(*SIXTY_FOUR, *STARS)
    types = [type for _, type in (*SIXTY_FOUR, *STARS)]
    found = [one async for one in last_to_first(rig.broker, rig.shard, "default", "default", types, 2)]
    assert found == jobs[::-1]
    monkeypatch.setattr("queuey.services.transfer.lane_order.MAX_LANE", 2)
    found = [one async for one in last_to_first(rig.broker, rig.shard, "default", "default", types, 2)]
    assert found == jobs[:0:-1]

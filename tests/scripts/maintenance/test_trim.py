"""trim: succeeded, cancelled and dead_letter past their retention -> gone."""

from __future__ import annotations

import pytest

from queuey.protocol.records import encode_key
from queuey.store.replies import Caps, Trimmed
from tests.support.scripts.plain_ways import commands_of
from tests.support.store import HOUR, NOW, SECOND, SIXTY_FOUR, STARS, Rig

DAY = 24 * HOUR
KEEP = Caps()


async def done(rig: Rig, *, now: int = NOW, count: int = 1, result: str = "", **fields: object) -> list[str]:
    held = await rig.held(count, now=now, **fields)
    await rig.broker.leases.complete(rig.shard, [(*one, result) for one in held], now=now)
    return [job_id for job_id, _ in held]


async def dead(rig: Rig, *, now: int = NOW, count: int = 1, **fields: object) -> list[str]:
    held = await rig.held(count, now=now, **fields)
    await rig.broker.leases.fail(rig.shard, [(*one, "{}", 0, True) for one in held], now=now)
    return [job_id for job_id, _ in held]


async def trim(rig: Rig, caps: Caps = KEEP, *, limit: int = 500, now: int = NOW) -> Trimmed:
    return await rig.broker.maintenance.trim(rig.shard, limit, caps, now=now)


async def left(rig: Rig, ids: list[str]) -> list[str]:
    """Those of which anything is still stored."""
    stored = await rig.broker.jobs.get(rig.shard, ids)
    return [job_id for job_id, job in zip(ids, stored, strict=True) if job.definition or job.state]


async def test_nothing_to_trim_changes_nothing(rig: Rig) -> None:
    await rig.add()
    await done(rig, queue="a")
    await dead(rig, queue="b")
    async with rig.unchanged():
        assert await trim(rig) == Trimmed(0, 0, 0, False)


# --- by age ------------------------------------------------------------------------------------------------------


async def test_finished_jobs_go_at_the_end_of_their_retention(rig: Rig) -> None:
    (short,) = await done(rig, retention_ms=5 * SECOND)
    (usual,) = await done(rig)
    (cancelled,) = await rig.add(retention_ms=5 * SECOND, queue="b")
    await rig.broker.jobs.cancel(rig.shard, [cancelled], now=NOW)
    assert await trim(rig, now=NOW + 5 * SECOND - 1) == Trimmed(0, 0, 0, False)
    assert await trim(rig, now=NOW + 5 * SECOND) == Trimmed(0, 2, 0, False)
    assert await left(rig, [short, usual, cancelled]) == [usual]
    assert await rig.scores(rig.keys.done("default")) == {usual: NOW + HOUR}
    assert await trim(rig, now=NOW + HOUR) == Trimmed(0, 1, 0, False)


async def test_dead_jobs_go_at_their_age(rig: Rig) -> None:
    old = await dead(rig)
    young = await dead(rig, now=NOW + 1)
    assert await trim(rig, now=NOW + 7 * DAY - 1) == Trimmed(0, 0, 0, False)
    assert await trim(rig, now=NOW + 7 * DAY) == Trimmed(1, 0, 0, False)
    assert await left(rig, old + young) == young


async def test_a_retention_of_nothing_goes_at_once_whatever_its_age(rig: Rig) -> None:
    (job_id,) = await done(rig, retention_ms=0)
    assert await trim(rig) == Trimmed(0, 1, 0, False)
    assert await left(rig, [job_id]) == []


# --- by count and bytes ------------------------------------------------------------------------------------------


async def test_above_the_count_the_oldest_go_first(rig: Rig) -> None:
    finished = [(await done(rig, now=NOW + n))[0] for n in range(5)]
    buried = [(await dead(rig, now=NOW + n))[0] for n in range(5)]
    caps = Caps(finished_count=3, dead_count=2, finished_min_age_ms=0)
    assert await trim(rig, caps, now=NOW + 5) == Trimmed(3, 2, 0, False)
    assert await left(rig, finished + buried) == finished[2:] + buried[3:]
    assert await trim(rig, caps, now=NOW + 5) == Trimmed(0, 0, 0, False)


async def test_above_the_bytes_the_oldest_go_first(rig: Rig) -> None:
    body = '{"type":"t","payload":"' + "x" * 1000 + '"}'
    finished = [(await done(rig, now=NOW + n, body=body))[0] for n in range(5)]
    buried = [(await dead(rig, now=NOW + n, body=body))[0] for n in range(5)]
    caps = Caps(finished_bytes=3500, dead_bytes=2500, finished_min_age_ms=0)
    assert await trim(rig, caps, now=NOW + 5) == Trimmed(3, 2, 0, False)
    assert await left(rig, finished + buried) == finished[2:] + buried[3:]
    row = await rig.row()
    stored = await rig.broker.jobs.get(rig.shard, finished[2:])
    assert row["finished_bytes"] == sum(len(job.definition) + len(job.state) for job in stored)
    assert await trim(rig, caps, now=NOW + 5) == Trimmed(0, 0, 0, False)


async def test_at_its_caps_exactly_a_queue_keeps_all(rig: Rig) -> None:
    finished = [(await done(rig, now=NOW + n))[0] for n in range(5)]
    stored = await rig.broker.jobs.get(rig.shard, finished[1:])
    size = sum(len(job.definition) + len(job.state) for job in stored)
    caps = Caps(finished_count=4, finished_bytes=size, finished_min_age_ms=0)
    assert await trim(rig, caps, now=NOW + 5) == Trimmed(0, 1, 0, False)
    assert await trim(rig, caps, now=NOW + 5) == Trimmed(0, 0, 0, False)
    assert await left(rig, finished) == finished[1:]


@pytest.mark.parametrize("caps", [Caps(finished_count=0), Caps(finished_bytes=0)])
async def test_no_finished_job_goes_younger_than_the_least_age(rig: Rig, caps: Caps) -> None:
    first = await done(rig)
    second = await done(rig, now=NOW + SECOND)
    assert await trim(rig, caps, now=NOW + 60 * SECOND - 1) == Trimmed(0, 0, 0, False)
    assert await trim(rig, caps, now=NOW + 60 * SECOND) == Trimmed(0, 1, 0, False)
    assert await left(rig, first + second) == second


async def test_caps_are_per_queue(rig: Rig) -> None:
    for queue in ("a", "b"):
        await done(rig, count=3, queue=queue)
    assert await trim(rig, Caps(finished_count=2, finished_min_age_ms=0)) == Trimmed(0, 2, 0, False)
    assert (await rig.row("a"))["finished"] == (await rig.row("b"))["finished"] == 2


async def test_results_and_errors_count_too(rig: Rig) -> None:
    await done(rig, result='"' + "x" * 5000 + '"')
    assert (await rig.row())["finished_bytes"] > 5000  # type: ignore[operator]
    assert await trim(rig, Caps(finished_bytes=5000, finished_min_age_ms=0)) == Trimmed(0, 1, 0, False)


# --- limits and sums ---------------------------------------------------------------------------------------------


async def test_it_stops_at_its_limit(rig: Rig) -> None:
    finished = await done(rig, count=4)
    buried = await dead(rig, count=4)
    later = NOW + 8 * DAY
    assert await trim(rig, limit=3, now=later) == Trimmed(3, 0, 0, True)
    assert await trim(rig, limit=3, now=later) == Trimmed(1, 2, 0, True)
    assert await trim(rig, limit=3, now=later) == Trimmed(0, 2, 0, False)
    assert await left(rig, finished + buried) == []


@pytest.mark.parametrize("caps", [KEEP, Caps(finished_count=0, finished_min_age_ms=0, dead_count=0)])
async def test_byte_counters_return_to_zero(rig: Rig, caps: Caps) -> None:
    for size in (1, 100, 90_000):
        body = '{"type":"t","payload":"' + "x" * size + '"}'
        await done(rig, body=body, count=3, result="[1]")
        await dead(rig, body=body, count=3)
        gone = await rig.add(3, body=body)
        await rig.broker.jobs.cancel(rig.shard, gone, now=NOW)
    assert (await rig.claim(5)).jobs == []
    assert await trim(rig, caps, now=NOW + 8 * DAY) == Trimmed(9, 18, 0, False)
    assert await rig.client.hmget(rig.keys.queue("default"), "dead_bytes", "done_bytes") == [b"0", b"0"]


async def test_a_record_that_is_missing_is_only_removed_from_its_set(rig: Rig) -> None:
    (lost,), (kept,) = await done(rig, now=NOW - 1), await done(rig)
    before = (await rig.row())["finished_bytes"]
    await rig.client.delete(rig.keys.job(lost), rig.keys.state(lost))
    assert await trim(rig, Caps(finished_count=1, finished_min_age_ms=0)) == Trimmed(0, 1, 0, False)
    assert list(await rig.scores(rig.keys.done("default"))) == [kept]
    assert (await rig.row())["finished_bytes"] == before


async def test_the_dedupe_key_outlives_the_record(rig: Rig) -> None:
    (job_id,) = await done(rig, key="k")
    await trim(rig, now=NOW + HOUR)
    assert await rig.client.get(rig.keys.dedupe(encode_key("k"))) == job_id.encode()
    assert await rig.broker.jobs.enqueue(rig.shard, [rig.job(key="k")], now=NOW + HOUR) == [f"duplicate {job_id}"]


# --- names of queues ---------------------------------------------------------------------------------------------


async def test_a_queue_that_holds_nothing_is_forgotten(rig: Rig) -> None:
    await done(rig, queue="mail")
    assert await trim(rig, now=NOW + HOUR) == Trimmed(0, 1, 0, False)
    assert await trim(rig, now=NOW + HOUR) == Trimmed(0, 0, 1, False)
    assert await rig.client.smembers(rig.keys.queues) == set()
    assert await rig.names() == {"stats", "claim:claim001"}
    async with rig.unchanged():
        assert await trim(rig, now=NOW + HOUR) == Trimmed(0, 0, 0, False)


@pytest.mark.parametrize("place", ["queued", "scheduled", "running", "done", "dead", "tombstone", "paused"])
async def test_a_queue_that_holds_anything_is_kept(rig: Rig, place: str) -> None:
    if place in ("queued", "tombstone"):
        added = await rig.add(retention_ms=0)
        if place == "tombstone":
            await rig.broker.jobs.cancel(rig.shard, added, now=NOW)
            await trim(rig)
    elif place == "scheduled":
        await rig.add(delay_ms=HOUR)
    elif place == "running":
        await rig.held()
    elif place == "paused":
        await rig.broker.queues.pause(rig.shard, "default", "by hand")
    else:
        await (done if place == "done" else dead)(rig)
    async with rig.unchanged():
        assert (await trim(rig)).queues == 0
    assert await rig.client.smembers(rig.keys.queues) == {b"default"}


# --- lists set aside ---------------------------------------------------------------------------------------------


async def test_a_queue_is_kept_while_a_list_set_aside_has_jobs(rig: Rig) -> None:
    for queue, lane, type in (("a", "high", "mail"), ("b", "low", "*")):
        await rig.name_asides(("default", "empty"), queue=queue)
        await rig.set_aside(await rig.add(queue=queue, priority=lane), type, queue=queue, lane=lane)
    async with rig.unchanged():
        assert await trim(rig) == Trimmed(0, 0, 0, False)


async def test_a_queue_with_names_only_is_forgotten_with_their_markers(rig: Rig) -> None:
    await rig.broker.queues.pause(rig.shard, "mail", "by hand")
    await rig.name_asides(("default", "invoice"), ("low", "report"), queue="mail")
    await rig.broker.queues.resume(rig.shard, "mail")
    assert await trim(rig) == Trimmed(0, 0, 1, False)
    assert await rig.names() == set()


async def test_names_cost_no_command(rig: Rig) -> None:
    await rig.set_aside(await rig.add(), "type61")
    await trim(rig)
    few = await commands_of(rig.client, trim(rig))
    await rig.name_asides(*SIXTY_FOUR, *STARS)
    assert await commands_of(rig.client, trim(rig)) == few == {"smembers": 1, "hmget": 1, "exists": 1, "zcard": 2}

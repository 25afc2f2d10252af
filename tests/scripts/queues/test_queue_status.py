"""queue_status: who paused queues, and since when the first job of each has been ready."""

from __future__ import annotations

from queuey.store.replies import QueueHead
from tests.support.scripts.plain_ways import commands_of
from tests.support.store import NOW, SECOND, SIXTY_FOUR, STARS, Rig


async def heads(rig: Rig, *queues: str, now: int = NOW + 60 * SECOND) -> list[QueueHead]:
    async with rig.unchanged():
        return list(await rig.broker.queues.queue_status(rig.shard, queues, now=now))


async def test_an_unknown_queue_is_told_as_such(rig: Rig) -> None:
    assert await heads(rig, "nowhere") == [QueueHead(False, "", 0, -1)]
    assert await heads(rig) == []


async def test_the_job_that_has_been_ready_longest_counts_in_whichever_lane(rig: Rig) -> None:
    await rig.add(queue="mail", priority="low", now=NOW + 10 * SECOND)
    await rig.add(queue="mail", priority="high", now=NOW + 20 * SECOND)
    await rig.add(queue="web", now=NOW + 59 * SECOND)
    assert [head.ready_for_ms for head in await heads(rig, "mail", "web")] == [50 * SECOND, SECOND]


async def test_what_is_scheduled_or_runs_is_not_ready(rig: Rig) -> None:
    await rig.held(queue="mail")
    await rig.add(queue="mail", delay_ms=SECOND)
    assert await heads(rig, "mail") == [QueueHead(True, "", 0, -1)]


async def test_tombstones_at_the_head_are_passed_over(rig: Rig) -> None:
    cancelled = await rig.add(100)
    await rig.broker.jobs.cancel(rig.shard, cancelled, now=NOW)
    await rig.add(now=NOW + 30 * SECOND)
    assert (await heads(rig, "default"))[0].ready_for_ms == 30 * SECOND


async def test_an_id_that_now_stands_elsewhere_is_a_tombstone(rig: Rig) -> None:
    """Cancelled in this lane, trimmed, and enqueued anew with the same id for later."""
    (job_id,) = await rig.add()
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    await rig.client.delete(rig.keys.job(job_id), rig.keys.state(job_id))
    await rig.add(id=job_id, delay_ms=SECOND)
    assert (await heads(rig, "default"))[0].ready_for_ms == -1


async def test_a_retry_is_ready_since_it_came_due(rig: Rig) -> None:
    (held,) = await rig.held()
    await rig.broker.leases.fail(rig.shard, [(*held, "{}", 5 * SECOND, False)], now=NOW)
    await rig.broker.maintenance.promote(rig.shard, 10, now=NOW + 40 * SECOND)
    assert (await heads(rig, "default"))[0].ready_for_ms == 55 * SECOND


async def test_who_paused_and_when(rig: Rig) -> None:
    await rig.broker.queues.pause(rig.shard, "mail", "by hand", "ada", now=NOW)
    assert await heads(rig, "mail") == [QueueHead(True, "ada", NOW, -1)]


# --- lists set aside ---------------------------------------------------------------------------------------------


async def test_what_was_set_aside_is_ready_too(rig: Rig) -> None:
    await rig.add(now=NOW + 40 * SECOND)
    for lane, type, at in (("default", "mail", 30), ("low", "*", 20), ("high", "report", 50)):
        await rig.set_aside(await rig.add(priority=lane, now=NOW + at * SECOND), type, lane=lane)
    assert (await heads(rig, "default"))[0].ready_for_ms == 40 * SECOND


async def test_lanes_and_types_are_told_apart(rig: Rig) -> None:
    await rig.add(now=NOW + 40 * SECOND)
    for lane, type, at in (("default", "mail", 30), ("low", "*", 20), ("high", "mail", 10)):
        await rig.set_aside(await rig.add(priority=lane, now=NOW + at * SECOND), type, lane=lane)
    (head,) = await heads(rig, "default")
    assert (head.ready_for_ms, head.in_lanes_ms) == (50 * SECOND, 20 * SECOND)
    assert sorted(head.aside) == [("*", 40 * SECOND), ("mail", 50 * SECOND)]
    await rig.claim_typed(5)
    (head,) = await heads(rig, "default")
    assert (head.ready_for_ms, head.in_lanes_ms, len(head.aside)) == (50 * SECOND, -1, 2)


async def test_it_says_how_long_ago_a_worker_of_every_type_asked(rig: Rig) -> None:
    await rig.add()
    assert [head.asked_ms for head in await heads(rig, "default")] == [-1]
    asked_at = NOW + 57 * SECOND
    await rig.broker.maintenance.note_types(rig.shard, [("default", True, ())], now=asked_at)
    assert [head.asked_ms for head in await heads(rig, "default")] == [3 * SECOND]


async def test_an_entry_set_aside_that_runs_by_now_is_not_ready(rig: Rig) -> None:
    ((job_id, _),) = await rig.held()
    await rig.client.rpush(rig.keys.aside("default", "default", "t"), job_id)
    await rig.name_asides(("default", "t"), ("low", "empty"))
    assert (await heads(rig, "default"))[0].ready_for_ms == -1


async def test_100_tombstones_are_passed_over_in_all_lists_set_aside(rig: Rig) -> None:
    for number, type in enumerate(("a", "b", "c")):
        cancelled = await rig.add(50)
        await rig.set_aside([*cancelled, *await rig.add(now=NOW + number * SECOND)], type)
        await rig.broker.jobs.cancel(rig.shard, cancelled, now=NOW)
        await rig.client.lrem(rig.keys.aside("default", "default", "a"), 1, cancelled[0])
    assert (await heads(rig, "default"))[0].ready_for_ms == 60 * SECOND
    await rig.client.delete(rig.keys.aside("default", "default", "a"))
    assert (await heads(rig, "default"))[0].ready_for_ms == 59 * SECOND
    await rig.client.delete(rig.keys.aside("default", "default", "b"))
    assert (await heads(rig, "default"))[0].ready_for_ms == 58 * SECOND


async def test_each_head_is_looked_at_though_others_had_many_tombstones(rig: Rig) -> None:
    cancelled = await rig.add(150)
    await rig.set_aside(cancelled, "a")
    await rig.broker.jobs.cancel(rig.shard, cancelled, now=NOW)
    await rig.set_aside(await rig.add(), "b")
    assert (await heads(rig, "default"))[0].ready_for_ms == 60 * SECOND
    hidden, behind = await rig.add(2)
    await rig.broker.jobs.cancel(rig.shard, [hidden], now=NOW)
    await rig.client.delete(rig.keys.aside("default", "default", "b"))
    await rig.set_aside([hidden, behind], "b")
    assert (await heads(rig, "default"))[0].ready_for_ms == -1, "no more tombstones are skipped"


async def test_names_cost_few_commands_and_none_without(rig: Rig) -> None:
    await rig.add()
    call = rig.broker.queues.queue_status
    await call(rig.shard, ["default"], now=NOW)
    assert await commands_of(rig.client, call(rig.shard, ["default"], now=NOW)) == {
        "hmget": 1,
        "lrange": 3,
        "getrange": 2,
        "zscore": 1,
        "sismember": 1,
    }
    cancelled = await rig.add(200)
    await rig.set_aside(cancelled, "type01")
    await rig.broker.jobs.cancel(rig.shard, cancelled, now=NOW)
    await rig.name_asides(*SIXTY_FOUR, *STARS)
    counted = await commands_of(rig.client, call(rig.shard, ["default"], now=NOW))
    assert counted["lrange"] == 3 + 64 + 3
    assert counted["getrange"] == 2 * (1 + 101)

"""stats: how much is where, and the counters."""

from __future__ import annotations

from queuey.protocol.models import PRIORITIES
from queuey.store.replies import QueueRow
from tests.support.scripts.plain_ways import commands_of
from tests.support.store import HOUR, LEASE, NOW, SIXTY_FOUR, STARS, Rig

MINUTE = 60_000


async def test_an_empty_store_has_no_queue_and_no_counter(rig: Rig) -> None:
    async with rig.unchanged():
        stats = await rig.broker.queues.stats(rig.shard, 60)
    assert (stats.queues, stats.counters) == ([], [])


async def test_every_place_is_counted(rig: Rig) -> None:
    await rig.held(5)
    ((dead, dead_token), *done) = await rig.held(3)
    await rig.broker.leases.fail(rig.shard, [(dead, dead_token, "{}", 0, True)], now=NOW)
    await rig.broker.leases.complete(rig.shard, [(*one, "") for one in done], now=NOW)
    for priority, count in (("high", 1), ("default", 2), ("low", 3)):
        await rig.add(count, priority=priority)
        await rig.add(priority=priority, delay_ms=HOUR)
    gone = await rig.add(2, priority="low")
    await rig.broker.jobs.cancel(rig.shard, gone, now=NOW)
    await rig.broker.queues.pause(rig.shard, "mail", "by hand")
    async with rig.unchanged():
        stats = await rig.broker.queues.stats(rig.shard)
    rows = {row.name: row for row in stats.queues}
    ended = await rig.broker.jobs.get(rig.shard, [dead, *(job_id for job_id, _ in done), *gone])
    dead_bytes, *finished_bytes = (len(job.definition) + len(job.state) for job in ended)
    assert rows == {
        "default": QueueRow("default", "", 1, 2, 3, 3, 5, 1, 4, dead_bytes, sum(finished_bytes)),
        "mail": QueueRow("mail", "by hand", 0, 0, 0, 0, 0, 0, 0, 0, 0),
    }


async def test_counters_in_all_and_of_the_last_full_minutes(rig: Rig) -> None:
    start = NOW - NOW % MINUTE
    for minute in range(4):
        await rig.add(minute + 1, now=start + minute * MINUTE)
        await rig.add(now=start + (minute + 1) * MINUTE - 1)
    await rig.add(now=start + 4 * MINUTE)  # of a minute that is not full yet
    await rig.add(now=start - 57 * MINUTE)  # 61 minutes ago
    now = start + 4 * MINUTE + 30_000
    for minutes, expected in ((0, 0), (1, 5), (2, 9), (4, 14), (60, 14), (500, 14)):
        stats = await rig.broker.queues.stats(rig.shard, minutes, now=now)
        assert stats.counters == [("enqueued", 16, expected)]


async def test_the_stores_clock_decides_when_no_time_is_given(rig: Rig) -> None:
    seconds, _ = await rig.client.time()
    await rig.add(now=(seconds - 120) * 1000)
    assert (await rig.broker.queues.stats(rig.shard, 5)).counters == [("enqueued", 1, 1)]


async def test_counters_by_the_minute_expire_after_two_hours(rig: Rig) -> None:
    await rig.held()
    await rig.add(2, queue="mail")
    ((job_id, token),) = await rig.held(now=NOW + MINUTE)
    await rig.broker.leases.complete(rig.shard, [(job_id, token, "")], now=NOW + MINUTE)
    names = await rig.client.keys(rig.keys.stats + ":*")
    assert len(names) == 2
    for name in names:
        assert 7_100 < await rig.client.ttl(name) <= 7_200
    assert await rig.client.ttl(rig.keys.stats) == -1


async def test_every_counter(rig: Rig) -> None:
    job_id = await rig.crashed(key="k", queue="q")
    await rig.broker.jobs.enqueue(rig.shard, [rig.job(key="k")], now=NOW)
    retried, released, done, dead, cancelled = await rig.held(5)
    await rig.broker.leases.fail(rig.shard, [(*retried, "{}", 0, False), (*dead, "{}", 0, True)], now=NOW)
    await rig.broker.leases.release(rig.shard, [released], now=NOW)
    await rig.broker.leases.complete(rig.shard, [(*done, "")], now=NOW)
    await rig.broker.jobs.cancel(rig.shard, [cancelled[0], job_id], now=NOW)
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)
    await rig.broker.dlq.replay(rig.shard, "r", [dead[0]], now=NOW)
    assert await rig.counters() == {
        "enqueued": 6,
        "deduplicated": 1,
        "claimed": 6,
        "retried": 1,
        "dead": 1,
        "released": 1,
        "succeeded": 1,
        "cancelled": 2,
        "crashed": 2,
        "replayed": 1,
    }


# --- lists set aside ---------------------------------------------------------------------------------------------


async def test_what_was_set_aside_counts_for_its_lane_and_by_type(rig: Rig) -> None:
    jobs = await rig.add(6)
    high = await rig.add(2, priority="high")
    await rig.set_aside(jobs[:3], "mail")
    await rig.set_aside(jobs[3:5], "*")
    await rig.set_aside(high, "mail", lane="high")
    await rig.name_asides(("low", "mail"), ("default", "empty"))
    async with rig.unchanged():
        row = await rig.row()
    assert [row[lane] for lane in PRIORITIES] == [2, 6, 0]
    assert await rig.asides() == [("mail", 5), ("*", 2)]


async def test_a_lane_and_its_lists_have_one_count_of_tombstones(rig: Rig) -> None:
    in_lane, kept, *cancelled = await rig.add(5)
    await rig.set_aside([kept, *cancelled[:2]], "mail")
    await rig.set_aside(cancelled[2:], "report")
    await rig.broker.jobs.cancel(rig.shard, cancelled, now=NOW)
    row = await rig.row()
    assert (row["default"], row["finished"]) == (2, 3)
    assert await rig.asides() == [("mail", 2), ("report", 1)]
    await rig.broker.jobs.cancel(rig.shard, [in_lane, kept], now=NOW)
    assert ((await rig.row())["default"], await rig.asides()) == (0, [])


async def test_names_cost_one_more_command_each_and_none_without(rig: Rig) -> None:
    await rig.add()
    call = rig.broker.queues.stats
    await call(rig.shard)
    assert await commands_of(rig.client, call(rig.shard, now=NOW)) == {
        "smembers": 1,
        "hmget": 1,
        "llen": 3,
        "zcard": 6,
        "hgetall": 1,
    }
    await rig.name_asides(*SIXTY_FOUR, *STARS)
    assert (await commands_of(rig.client, call(rig.shard)))["llen"] == 3 + 64 + 3

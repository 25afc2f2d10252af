"""purge: queued, scheduled -> cancelled, the first of each lane and of what was set aside from it."""

from __future__ import annotations

from typing import Any

from queuey.protocol.records import encode_key
from queuey.store.replies import Purged
from tests.support.scripts.plain_ways import commands_of
from tests.support.store import HOUR, NOW, SIXTY_FOUR, STARS, Rig


async def purge(rig: Rig, queue: str = "default", **options: Any) -> Purged:
    return await rig.broker.queues.purge(rig.shard, queue, now=NOW, **options)


async def test_all_that_waits_is_cancelled_and_nothing_else(rig: Rig) -> None:
    ((running, token),) = await rig.held()
    (other,) = await rig.add(queue="mail")
    waiting = [*await rig.add(2), *await rig.add(priority="low"), *await rig.add(delay_ms=HOUR, priority="high")]
    assert await purge(rig) == Purged(4, False)
    assert [(await rig.state(job_id))["s"] for job_id in waiting] == ["c"] * 4
    row = await rig.row()
    assert [row[place] for place in ("high", "default", "low", "scheduled", "running", "finished")] == [
        0,
        0,
        0,
        0,
        1,
        4,
    ]
    assert await rig.waiting() == [], "no tombstones are left"
    assert await rig.waiting("mail") == [other]
    assert await rig.broker.leases.complete(rig.shard, [(running, token, "")], now=NOW) == ["ok"]
    assert (await rig.counters())["cancelled"] == 4


async def test_again_there_is_nothing_left(rig: Rig) -> None:
    await rig.add(3)
    await purge(rig)
    async with rig.unchanged():
        assert await purge(rig) == Purged(0, False)
        assert await purge(rig, "nowhere") == Purged(0, False)


async def test_it_stops_at_the_limit_and_goes_on(rig: Rig) -> None:
    first, second, third = await rig.add(3)
    assert await purge(rig, limit=2) == Purged(2, True)
    assert await rig.waiting() == [third]
    assert {(await rig.state(job_id))["s"] for job_id in (first, second)} == {"c"}
    assert await purge(rig, limit=2) == Purged(1, False)


async def test_one_place_alone(rig: Rig) -> None:
    (queued,) = await rig.add()
    (scheduled,) = await rig.add(delay_ms=HOUR)
    assert await purge(rig, queued=False) == Purged(1, False)
    assert (await rig.state(scheduled))["s"] == "c"
    assert await rig.waiting() == [queued]
    assert await purge(rig, scheduled=False) == Purged(1, False)


async def test_tombstones_go_and_are_not_counted(rig: Rig) -> None:
    cancelled, waiting = await rig.add(2)
    await rig.broker.jobs.cancel(rig.shard, [cancelled], now=NOW)
    assert await purge(rig) == Purged(1, False)
    assert (await rig.state(waiting))["s"] == "c"
    row = await rig.row()
    assert (row["default"], row["finished"]) == (0, 2)
    assert (await rig.claim(5)).jobs == []


async def test_an_id_that_now_stands_elsewhere_is_left_there(rig: Rig) -> None:
    (job_id,) = await rig.add()
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    await rig.client.delete(rig.keys.job(job_id), rig.keys.state(job_id))
    await rig.add(id=job_id, delay_ms=HOUR)
    assert await purge(rig, scheduled=False) == Purged(0, False)
    assert list(await rig.scores(rig.keys.scheduled("default", "default"))) == [job_id]


async def test_dedupe_keys_are_free_again(rig: Rig) -> None:
    await rig.add(key="k")
    await purge(rig)
    assert not await rig.client.exists(rig.keys.dedupe(encode_key("k")))


async def test_who_waits_for_the_end_is_told(rig: Rig) -> None:
    (job_id,) = await rig.add()
    await rig.broker.jobs.watch_end(rig.shard, [job_id])
    await purge(rig)
    assert "v" not in await rig.state(job_id)


async def test_the_ids_are_in_the_reply_only_while_somebody_listens(rig: Rig) -> None:
    cancelled, queued = await rig.add(2)
    (scheduled,) = await rig.add(delay_ms=HOUR)
    await rig.broker.jobs.cancel(rig.shard, [cancelled], now=NOW)
    await rig.add(queue="mail")
    moves = rig.listen()
    assert await purge(rig) == Purged(2, False, [queued, scheduled])
    assert moves == [(queued, "cancelled"), (scheduled, "cancelled")]
    assert await purge(rig) == Purged(0, False, [])
    moves.on = False
    assert await purge(rig, "mail") == Purged(1, False, [])
    assert len(moves) == 2


# --- lists set aside ---------------------------------------------------------------------------------------------


async def test_what_was_set_aside_is_cancelled_too_and_leaves_no_tombstones(rig: Rig) -> None:
    in_lane, cancelled, *aside = await rig.add(5)
    low = await rig.add(2, priority="low")
    await rig.set_aside([cancelled, *aside[:2]], "mail")
    await rig.set_aside(aside[2:], "*")
    await rig.set_aside(low, "mail", lane="low")
    await rig.name_asides(("high", "empty"))
    await rig.broker.jobs.cancel(rig.shard, [cancelled], now=NOW)
    assert await purge(rig) == Purged(6, False)
    assert [(await rig.state(job_id))["s"] for job_id in (in_lane, *aside, *low)] == ["c"] * 6
    assert not [name for name in await rig.names() if name.startswith(("aside:", "ready:"))]
    row = await rig.row()
    assert [row[place] for place in ("high", "default", "low", "finished")] == [0, 0, 0, 7]
    assert await rig.client.hget(rig.keys.queue("default"), "tombstones_default") == b"0"


async def test_lists_set_aside_count_for_the_limit_and_stay_when_only_the_scheduled_are_purged(rig: Rig) -> None:
    jobs = await rig.add(4)
    await rig.set_aside(jobs[2:], "mail")
    assert await purge(rig, queued=False) == Purged(0, False)
    assert await purge(rig, limit=3) == Purged(3, True)
    assert await rig.set_aside_list("mail") == jobs[3:]
    assert await purge(rig, limit=3) == Purged(1, False)


async def test_names_cost_few_commands_and_one_without(rig: Rig) -> None:
    await purge(rig)
    assert await commands_of(rig.client, purge(rig)) == {"hget": 1, "lrange": 3, "zrange": 3}
    await rig.name_asides(*SIXTY_FOUR, *STARS)
    assert await commands_of(rig.client, purge(rig)) == {"hget": 1, "lrange": 3 + 64 + 3, "zrange": 3}

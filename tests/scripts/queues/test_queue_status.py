"""queue_status: who paused queues, and since when the first job of each has been ready."""

from __future__ import annotations

from queuey.store.replies import QueueHead
from tests.support.store import NOW, SECOND, Rig


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

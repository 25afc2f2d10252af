"""pause: claim passes the queue over from now on."""

from __future__ import annotations

from tests.support.store import NOW, Rig


async def test_a_queue_is_paused_with_its_reason(rig: Rig) -> None:
    await rig.add(queue="mail")
    assert await rig.broker.queues.pause(rig.shard, "mail", "the relay is down") == "ok"
    assert (await rig.row("mail"))["paused"] == "the relay is down"
    assert (await rig.claim(5, queues=["mail"])).jobs == []


async def test_again_is_ok_again_and_takes_the_new_reason(rig: Rig) -> None:
    await rig.broker.queues.pause(rig.shard, "mail", "one")
    async with rig.unchanged():
        assert await rig.broker.queues.pause(rig.shard, "mail", "one") == "ok"
    assert await rig.broker.queues.pause(rig.shard, "mail", "two") == "ok"
    assert (await rig.row("mail"))["paused"] == "two"


async def test_a_queue_that_nobody_has_seen_can_be_paused(rig: Rig) -> None:
    assert await rig.broker.queues.pause(rig.shard, "new", "not yet") == "ok"
    assert await rig.names() == {"queues", "queue:new"}


async def test_what_runs_goes_on_and_enqueue_still_takes_jobs(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.queues.pause(rig.shard, "default", "by hand")
    await rig.add()
    assert await rig.broker.leases.extend(rig.shard, 1, [(job_id, token)], now=NOW) == ["ok"]
    assert await rig.broker.leases.complete(rig.shard, [(job_id, token, "")], now=NOW) == ["ok"]


async def test_there_are_at_most_256_queues(rig: Rig) -> None:
    jobs = [rig.job(queue=f"q{number}") for number in range(256)]
    await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW)
    async with rig.unchanged():
        assert await rig.broker.queues.pause(rig.shard, "one-more", "by hand") == "too_many_queues"
    assert await rig.broker.queues.pause(rig.shard, "q255", "by hand") == "ok"


async def test_who_paused_it_and_when_is_kept(rig: Rig) -> None:
    await rig.broker.queues.pause(rig.shard, "mail", "the relay is down", "ada", now=NOW)
    await rig.broker.queues.pause(rig.shard, "mail", "the relay is down", "ada", now=NOW + 1)
    (head,) = await rig.broker.queues.queue_status(rig.shard, ["mail"])
    assert (head.paused_by, head.paused_at_ms) == ("ada", NOW), "the same again keeps the first time"
    await rig.broker.queues.pause(rig.shard, "mail", "the relay is down", "bob", now=NOW + 2)
    (head,) = await rig.broker.queues.queue_status(rig.shard, ["mail"])
    assert (head.paused_by, head.paused_at_ms) == ("bob", NOW + 2)

"""resume: claim takes from the queue again."""

from __future__ import annotations

from tests.support.store import Rig


async def test_a_paused_queue_is_claimed_from_again(rig: Rig) -> None:
    (job_id,) = await rig.add()
    await rig.broker.queues.pause(rig.shard, "default", "by hand")
    await rig.claim(5)
    await rig.marked()
    assert await rig.broker.queues.resume(rig.shard, "default") == "ok"
    assert (await rig.row())["paused"] == ""
    assert await rig.marked(), "its jobs are claimable again"
    assert [job.id for job in (await rig.claim(5)).jobs] == [job_id]


async def test_again_there_is_nothing_to_resume(rig: Rig) -> None:
    await rig.add()
    await rig.broker.queues.pause(rig.shard, "default", "by hand")
    await rig.broker.queues.resume(rig.shard, "default")
    async with rig.unchanged():
        assert await rig.broker.queues.resume(rig.shard, "default") == "not_paused"
        assert await rig.broker.queues.resume(rig.shard, "nowhere") == "not_paused"


async def test_a_resumed_queue_without_jobs_leaves_only_its_name_and_marker(rig: Rig) -> None:
    await rig.broker.queues.pause(rig.shard, "mail", "by hand")
    await rig.broker.queues.resume(rig.shard, "mail")
    assert await rig.names() == {"queues", "wake:mail"}


async def test_who_paused_it_is_forgotten(rig: Rig) -> None:
    await rig.broker.queues.pause(rig.shard, "mail", "by hand", "ada")
    await rig.broker.queues.resume(rig.shard, "mail")
    (head,) = await rig.broker.queues.queue_status(rig.shard, ["mail"])
    assert (head.paused_by, head.paused_at_ms) == ("", 0)


async def test_those_who_know_the_types_set_aside_are_woken_too(rig: Rig) -> None:
    await rig.set_aside(await rig.add(), "mail")
    await rig.name_asides(("low", "report"), ("high", "mail"))
    await rig.broker.queues.pause(rig.shard, "default", "by hand")
    assert await rig.broker.queues.resume(rig.shard, "default") == "ok"
    woken = {name for name in await rig.names() if name.startswith("wake:default:")}
    assert woken == {"wake:default:mail", "wake:default:report"}

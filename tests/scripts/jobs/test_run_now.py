"""run_now: scheduled -> queued now, at the tail of its lane."""

from __future__ import annotations

from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


async def hasten(rig: Rig, *ids: str, request_id: str = "r1", now: int = NOW + SECOND) -> list[str]:
    return await rig.broker.jobs.run_now(rig.shard, request_id, ids, now=now)


async def test_a_scheduled_job_is_queued_at_the_tail_of_its_lane(rig: Rig) -> None:
    (scheduled,) = await rig.add(delay_ms=HOUR, queue="mail", priority="low", max_attempts=3)
    (waiting,) = await rig.add(queue="mail", priority="low")
    await rig.marked("mail")
    assert await hasten(rig, scheduled) == ["ok"]
    assert await rig.waiting("mail", "low") == [waiting, scheduled]
    assert await rig.scores(rig.keys.scheduled("mail", "low")) == {}
    state = await rig.state(scheduled)
    assert (state["s"], state["r"], state["m"]) == ("w", str(NOW + SECOND), "3")
    assert await rig.marked("mail")
    assert (await rig.counters())["hastened"] == 1
    claimed = await rig.claim(2, queues=["mail"], now=NOW + SECOND)
    assert [(job.id, job.attempt) for job in claimed.jobs] == [(waiting, 1), (scheduled, 1)]
    done = [(job.id, job.token, "1") for job in claimed.jobs]
    assert await rig.broker.leases.complete(rig.shard, done, now=NOW + SECOND) == ["ok", "ok"]
    stored = await rig.stored(scheduled)
    row = await rig.row("mail")
    other = await rig.stored(waiting)
    assert row["finished_bytes"] == sum(len(one.definition) + len(one.state) for one in (stored, other))


async def test_a_retry_that_is_due_later_is_due_now_with_its_errors(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.leases.fail(rig.shard, [(job_id, token, '{"n":1}', HOUR, False)], now=NOW)
    assert await hasten(rig, job_id) == ["ok"]
    (job,) = (await rig.claim(now=NOW + SECOND)).jobs
    assert (job.id, job.attempt) == (job_id, 2)
    assert (await rig.stored(job_id)).state.endswith('{"n":1}')


async def test_the_same_request_again_is_ok_again(rig: Rig) -> None:
    (job_id,) = await rig.add(delay_ms=HOUR)
    assert await hasten(rig, job_id, job_id) == ["ok", "ok"]
    assert await rig.waiting() == [job_id]
    async with rig.unchanged():
        assert await hasten(rig, job_id) == ["ok"]
    await rig.claim()
    async with rig.unchanged():
        assert await hasten(rig, job_id) == ["ok"], "it was done, and the job runs by now"


async def test_what_is_not_scheduled_is_told(rig: Rig) -> None:
    done, running = await rig.held(2)
    await rig.broker.leases.complete(rig.shard, [(*done, "")], now=NOW)
    (waiting,) = await rig.add()
    (cancelled,) = await rig.add(delay_ms=HOUR)
    await rig.broker.jobs.cancel(rig.shard, [cancelled], now=NOW)
    async with rig.unchanged():
        answers = await hasten(rig, done[0], running[0], waiting, cancelled, rig.new_id())
    assert answers == ["not_scheduled"] * 4 + ["missing"]


async def test_a_crashed_job_keeps_its_crashes(rig: Rig) -> None:
    (job_id,) = await rig.add()
    await rig.claim()
    await rig.broker.maintenance.reap(rig.shard, 10, [HOUR], now=NOW + LEASE)
    assert await hasten(rig, job_id, now=NOW + LEASE) == ["ok"]
    (job,) = (await rig.claim(now=NOW + LEASE)).jobs
    assert (job.id, job.crashes, job.attempt) == (job_id, 1, 1)


async def test_it_goes_to_the_lane_though_its_type_has_a_list_and_a_job_there_is_not_scheduled(rig: Rig) -> None:
    """The next claim that meets it in the lane puts it behind those of its type."""
    (aside,) = await rig.add()
    await rig.set_aside([aside], "t")
    (scheduled,) = await rig.add(delay_ms=HOUR)
    assert await hasten(rig, aside, scheduled) == ["not_scheduled", "ok"]
    assert (await rig.waiting(), await rig.set_aside_list("t")) == ([scheduled], [aside])

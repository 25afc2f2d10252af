"""What holds over a job's whole life, whichever scripts it meets: no orphan keys, no lost fields, exact sums."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from queuey.store.replies import Caps
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig

DAY = 24 * HOUR
Move = Callable[[Rig, str, str], Awaitable[object]]


async def bury(rig: Rig, job_id: str, token: str) -> None:
    await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", 0, True)], now=NOW)


async def complete(rig: Rig, job_id: str, token: str) -> None:
    await rig.broker.leases.complete(rig.shard, [(job_id, token, '"done"')], now=NOW)


async def retry_and_complete(rig: Rig, job_id: str, token: str) -> None:
    await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", SECOND, False)], now=NOW)
    (again,) = (await rig.claim(now=NOW + SECOND)).jobs
    await complete(rig, job_id, again.token)


async def release_and_cancel(rig: Rig, job_id: str, token: str) -> None:
    await rig.broker.leases.release(rig.shard, [(job_id, token)], now=NOW)
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)


async def retry_and_cancel(rig: Rig, job_id: str, token: str) -> None:
    await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", SECOND, False)], now=NOW)
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)


async def cancel_and_fail(rig: Rig, job_id: str, token: str) -> None:
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", SECOND, False)], now=NOW)


async def cancel_and_release(rig: Rig, job_id: str, token: str) -> None:
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    await rig.broker.leases.release(rig.shard, [(job_id, token)], now=NOW)


async def cancel_and_reap(rig: Rig, job_id: str, token: str) -> None:
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)


async def crash_three_times(rig: Rig, job_id: str, token: str) -> None:
    for number in range(1, 4):
        await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + number * LEASE)
        await rig.claim(now=NOW + number * LEASE)


async def die_and_live_again(rig: Rig, job_id: str, token: str) -> None:
    await bury(rig, job_id, token)
    await rig.broker.dlq.replay(rig.shard, "r", [job_id], now=NOW)
    (again,) = (await rig.claim()).jobs
    await complete(rig, job_id, again.token)


LIVES: list[Move] = [
    *(complete, bury, retry_and_complete, release_and_cancel, retry_and_cancel, cancel_and_fail),
    *(cancel_and_release, cancel_and_reap, crash_three_times, die_and_live_again),
]


@pytest.mark.parametrize("live", LIVES, ids=lambda live: live.__name__)
async def test_no_key_is_left_behind(rig: Rig, live: Move) -> None:
    ((job_id, token),) = await rig.held(key="k")
    await live(rig, job_id, token)
    row = await rig.row()
    assert [row[place] for place in ("high", "default", "low", "scheduled", "running")] == [0] * 5
    assert (row["dead"], row["finished"]) in ((1, 0), (0, 1))
    assert (await rig.claim(10, now=NOW + DAY)).jobs == []
    await rig.broker.maintenance.trim(rig.shard, 10, Caps(), now=NOW + 8 * DAY)
    row = await rig.row()
    assert (row["dead_bytes"], row["finished_bytes"]) == (0, 0)
    assert (await rig.broker.maintenance.trim(rig.shard, 10, Caps(), now=NOW + 8 * DAY)).queues == 1
    lasting = {name for name, (_, expires) in (await rig.snapshot()).items() if not expires}
    assert lasting == {rig.keys.stats}
    assert {name.partition(":")[0] for name in await rig.names()} <= {"stats", "claim", "dedupe"}


async def test_a_job_that_is_cancelled_unclaimed_leaves_no_key(rig: Rig) -> None:
    queued, scheduled = (await rig.add(key="a"))[0], (await rig.add(key="b", delay_ms=HOUR))[0]
    await rig.broker.jobs.cancel(rig.shard, [queued, scheduled], now=NOW)
    await rig.broker.maintenance.trim(rig.shard, 10, Caps(), now=NOW + HOUR)
    assert (await rig.claim(10)).jobs == []
    assert (await rig.broker.maintenance.trim(rig.shard, 10, Caps(), now=NOW + HOUR)).queues == 1
    assert await rig.names() == {"stats"}


async def test_the_anchors_are_never_created(rig: Rig) -> None:
    for number, live in enumerate(LIVES):
        ((job_id, token),) = await rig.held(key=f"k{number}")
        await live(rig, job_id, token)
    await rig.broker.maintenance.promote(rig.shard, 10, now=NOW + DAY)
    await rig.broker.maintenance.trim(rig.shard, 100, Caps(), now=NOW + 8 * DAY)
    await rig.broker.replicas.heartbeat(rig.shard, "w", "{}")
    await rig.broker.queues.pause(rig.shard, "default", "by hand")
    await rig.broker.queues.resume(rig.shard, "default")
    await rig.broker.replicas.register()
    assert await rig.client.exists(*rig.keys.anchors) == 0


# --- fields of a later version -----------------------------------------------------------------------------------


async def mark(rig: Rig, job_id: str) -> None:
    """Put a field that this version does not know into a job's state, as a later version might have."""
    head, line, rest = (await rig.stored(job_id)).state.partition("\n")
    await rig.client.set(rig.keys.state(job_id), f"{head} Q=1.a-b_c:d J=7{line}{rest}")


@pytest.mark.parametrize("live", LIVES, ids=lambda live: live.__name__)
async def test_fields_that_are_not_known_are_kept_through_every_move(rig: Rig, live: Move) -> None:
    ((job_id, token),) = await rig.held(extra="Z=new")
    await mark(rig, job_id)
    await live(rig, job_id, token)
    state = await rig.state(job_id)
    assert (state["Q"], state["J"]) == ("1.a-b_c:d", "7")
    assert "Z=new\n" in (await rig.stored(job_id)).definition


async def test_a_definition_of_a_later_version_is_claimed_as_it_is(rig: Rig) -> None:
    (job_id,) = await rig.add(extra="Z=new", body='{"type":"t","later":[1]}', queue="mail", max_attempts=2)
    (job,) = (await rig.claim(queues=["mail"])).jobs
    assert job.definition == f'r={NOW} q=mail m=2 Z=new\n{{"type":"t","later":[1]}}'
    assert "Z" not in await rig.state(job_id)


# --- sums --------------------------------------------------------------------------------------------------------


async def test_lengths_stay_exact_over_many_moves(rig: Rig) -> None:
    added = await rig.add(30)
    await rig.broker.jobs.cancel(rig.shard, added[::3], now=NOW)
    held = [(job.id, job.token) for job in (await rig.claim(10)).jobs]
    await rig.broker.leases.release(rig.shard, held[:4], now=NOW)
    await rig.broker.jobs.cancel(rig.shard, [held[0][0], held[9][0], added[-1]], now=NOW)
    await rig.broker.leases.fail(rig.shard, [(*one, "{}", 0, False) for one in held[4:7]], now=NOW)
    await rig.broker.maintenance.promote(rig.shard, 10, now=NOW)
    await rig.broker.jobs.cancel(rig.shard, [held[4][0]], now=NOW)
    row = await rig.row()
    waiting = len((await rig.claim(100)).jobs)
    assert row["default"] == waiting == 20 - 10 + 4 - 2 + 3 - 1
    assert row["running"] == 3
    assert (await rig.row())["default"] == 0
    assert await rig.waiting() == []

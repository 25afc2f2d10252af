"""release: running -> queued, at the head of its lane."""

from __future__ import annotations

from queuey.protocol.records import encode_key, to_job
from tests.support.store import HOUR, LEASE, NOW, Rig


async def test_a_released_job_is_queued_at_the_head_and_spends_no_attempt(rig: Rig) -> None:
    ((job_id, token),) = await rig.held(priority="low")
    (other,) = await rig.add(priority="low")
    await rig.marked()
    assert await rig.broker.leases.release(rig.shard, [(job_id, token)], now=NOW) == ["ok"]
    state = await rig.state(job_id)
    assert (state["s"], state.get("a"), state.get("h"), state["p"], state["o"]) == ("w", None, None, token, "l")
    assert await rig.waiting(priority="low") == [job_id, other]
    assert await rig.scores(rig.keys.leases("default")) == {}
    assert await rig.marked()
    assert (await rig.counters())["released"] == 1
    (again,) = (await rig.claim()).jobs
    assert (again.id, again.attempt, again.token.split(".")[0]) == (job_id, 1, "2")


async def test_each_release_is_counted_and_each_tenth_is_reported(rig: Rig) -> None:
    (job_id,) = await rig.add()
    for count in range(1, 21):
        (job,) = (await rig.claim()).jobs
        assert await rig.broker.leases.release(rig.shard, [(job_id, job.token)] * 2, now=NOW) == ["ok", "ok"]
        assert (await rig.state(job_id))["R"] == str(count)
        assert (await rig.counters()).get("released_often", 0) == count // 10
    shown = await rig.broker.jobs.get(rig.shard, [job_id])
    assert shown[0] is not None
    assert to_job(job_id, shown[0]).released == 20


async def test_the_first_of_the_list_stands_first(rig: Rig) -> None:
    held = await rig.held(5)
    (other,) = await rig.add()
    assert await rig.broker.leases.release(rig.shard, held, now=NOW) == ["ok"] * 5
    assert await rig.waiting() == [*(job_id for job_id, _ in held), other]


async def test_a_large_batch_keeps_its_order(rig: Rig) -> None:
    held = await rig.held(512)
    await rig.broker.leases.release(rig.shard, held, now=NOW)
    assert await rig.waiting() == [job_id for job_id, _ in held]


async def test_the_same_token_again_is_ok_again(rig: Rig) -> None:
    held = await rig.held()
    assert await rig.broker.leases.release(rig.shard, held * 2, now=NOW) == ["ok", "ok"]
    async with rig.unchanged():
        assert await rig.broker.leases.release(rig.shard, held, now=NOW) == ["ok"]
    assert await rig.waiting() == [held[0][0]]
    await rig.claim()
    async with rig.unchanged():
        assert await rig.broker.leases.release(rig.shard, held, now=NOW) == ["ok"]


async def test_a_flagged_job_becomes_cancelled(rig: Rig) -> None:
    ((job_id, token),) = await rig.held(key="k")
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    assert await rig.broker.leases.release(rig.shard, [(job_id, token)], now=NOW) == ["ok"]
    state = await rig.state(job_id)
    assert (state["s"], state["o"]) == ("c", "c")
    assert "z" not in state
    assert await rig.waiting() == []
    assert (await rig.row())["default"] == 0
    assert not await rig.client.exists(rig.keys.dedupe(encode_key("k")))
    async with rig.unchanged():
        assert await rig.broker.leases.release(rig.shard, [(job_id, token)], now=NOW) == ["ok"]
    assert (await rig.counters()) == {"enqueued": 1, "claimed": 1, "cancelled": 1}


async def test_who_does_not_hold_the_lease_is_told_lost(rig: Rig) -> None:
    done, retried, running, reaped = await rig.held(4)
    (waiting,) = await rig.add()
    await rig.broker.leases.complete(rig.shard, [(*done, "")], now=NOW)
    await rig.broker.leases.fail(rig.shard, [(*retried, "{}", HOUR, False)], now=NOW)
    await rig.broker.leases.extend(rig.shard, HOUR, [running], now=NOW)
    assert (await rig.broker.maintenance.reap(rig.shard, 5, [0], now=NOW + LEASE)).outcomes == [(reaped[0], "retry")]
    strangers = [done, retried, reaped, (running[0], "1.other"), (waiting, "1.c"), ("none", "1.c")]
    async with rig.unchanged():
        assert await rig.broker.leases.release(rig.shard, strangers, now=NOW) == ["lost"] * len(strangers)


async def test_of_a_claim_of_so_long_only_what_was_not_extended_is_released(rig: Rig) -> None:
    kept, freed = await rig.held(2)
    await rig.broker.leases.extend(rig.shard, LEASE, [kept], now=NOW + 1)
    items = [(*kept, LEASE), (*freed, LEASE)]
    assert await rig.broker.leases.release(rig.shard, items, now=NOW + 2) == ["lost", "ok"]
    assert ((await rig.state(kept[0]))["s"], await rig.waiting()) == ("r", [freed[0]])
    async with rig.unchanged():
        assert await rig.broker.leases.release(rig.shard, items, now=NOW + 2) == ["lost", "ok"]

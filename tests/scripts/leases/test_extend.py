"""extend: a running job's lease, by its holder."""

from __future__ import annotations

from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


async def test_a_lease_is_extended_from_now(rig: Rig) -> None:
    first, second = await rig.held(2)
    (other,) = await rig.held(queue="mail")
    async with rig.unchanged(but=[rig.keys.leases("")]):
        answers = await rig.broker.leases.extend(rig.shard, HOUR, [first, other], now=NOW + SECOND)
    assert answers == ["ok", "ok"]
    assert await rig.scores(rig.keys.leases("default")) == {first[0]: NOW + SECOND + HOUR, second[0]: NOW + LEASE}
    assert await rig.scores(rig.keys.leases("mail")) == {other[0]: NOW + SECOND + HOUR}


async def test_again_is_ok_again(rig: Rig) -> None:
    held = await rig.held()
    assert await rig.broker.leases.extend(rig.shard, HOUR, held, now=NOW) == ["ok"]
    async with rig.unchanged():
        assert await rig.broker.leases.extend(rig.shard, HOUR, held, now=NOW) == ["ok"]
        assert await rig.broker.leases.extend(rig.shard, HOUR, held * 2, now=NOW) == ["ok", "ok"]


async def test_who_does_not_hold_the_lease_is_told_lost(rig: Rig) -> None:
    done, retried, released, running = await rig.held(4)
    (waiting,) = await rig.add()
    await rig.broker.leases.complete(rig.shard, [(*done, "")], now=NOW)
    await rig.broker.leases.fail(rig.shard, [(*retried, "{}", HOUR, False)], now=NOW)
    await rig.broker.leases.release(rig.shard, [released], now=NOW)
    strangers = [done, retried, released, (running[0], "1.other"), (running[0], ""), (waiting, "1.c"), ("none", "1.c")]
    async with rig.unchanged():
        assert await rig.broker.leases.extend(rig.shard, HOUR, strangers, now=NOW) == ["lost"] * len(strangers)


async def test_a_flagged_job_is_extended_all_the_same(rig: Rig) -> None:
    held = await rig.held()
    await rig.broker.jobs.cancel(rig.shard, [held[0][0]], now=NOW)
    assert await rig.broker.leases.extend(rig.shard, HOUR, held, now=NOW) == ["cancelled"]
    assert (await rig.stored(held[0][0])).lease_expires_ms == NOW + HOUR


async def test_a_lapsed_lease_that_was_not_reaped_can_be_extended(rig: Rig) -> None:
    held = await rig.held()
    assert await rig.broker.leases.extend(rig.shard, LEASE, held, now=NOW + HOUR) == ["ok"]
    assert (await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + HOUR)).outcomes == []


async def test_after_the_reap_it_is_lost(rig: Rig) -> None:
    held = await rig.held()
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + HOUR)
    async with rig.unchanged():
        assert await rig.broker.leases.extend(rig.shard, LEASE, held, now=NOW + HOUR) == ["lost"]


async def test_a_lease_of_its_own_goes_before_that_of_the_call(rig: Rig) -> None:
    first, second = await rig.held(2)
    answers = await rig.broker.leases.extend(rig.shard, HOUR, [(*first, LEASE), second], now=NOW + SECOND)
    assert answers == ["ok", "ok"]
    ends = {first[0]: NOW + SECOND + LEASE, second[0]: NOW + SECOND + HOUR}
    assert await rig.scores(rig.keys.leases("default")) == ends

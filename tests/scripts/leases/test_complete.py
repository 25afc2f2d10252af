"""complete: running -> succeeded."""

from __future__ import annotations

from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


async def test_a_completed_job_has_succeeded(rig: Rig) -> None:
    ((job_id, token),) = await rig.held(retention_ms=90 * SECOND)
    assert await rig.broker.leases.complete(rig.shard, [(job_id, token, '{"a":1}')], now=NOW + SECOND) == ["ok"]
    stored = await rig.stored(job_id)
    state = await rig.state(job_id)
    assert (state["s"], state["f"], state["p"], state["o"]) == ("s", str(NOW + SECOND), token, "s")
    assert "h" not in state
    assert stored.state.split("\n")[1:] == ['{"a":1}']
    assert stored.lease_expires_ms == -1
    assert await rig.scores(rig.keys.leases("default")) == {}
    assert await rig.scores(rig.keys.done("default")) == {job_id: NOW + 91 * SECOND}
    assert (await rig.row())["finished_bytes"] == len(stored.definition) + len(stored.state)
    assert await rig.counters() == {"enqueued": 1, "claimed": 1, "succeeded": 1}


async def test_the_default_retention_is_an_hour_and_no_result_is_stored_as_none(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.leases.complete(rig.shard, [(job_id, token, "")], now=NOW)
    assert await rig.scores(rig.keys.done("default")) == {job_id: NOW + HOUR}
    assert "\n" not in (await rig.stored(job_id)).state


async def test_a_result_stands_before_earlier_errors(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.leases.fail(rig.shard, [(job_id, token, '{"e":1}', 0, False)], now=NOW)
    (again,) = (await rig.claim()).jobs
    await rig.broker.leases.complete(rig.shard, [(job_id, again.token, "[7]")], now=NOW)
    assert (await rig.stored(job_id)).state.split("\n")[1:] == ["[7]", f'{NOW} {{"e":1}}']


async def test_the_same_token_again_is_ok_again(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    assert await rig.broker.leases.complete(rig.shard, [(job_id, token, "1")] * 2, now=NOW) == ["ok", "ok"]
    async with rig.unchanged():
        assert await rig.broker.leases.complete(rig.shard, [(job_id, token, "2")], now=NOW + SECOND) == ["ok"]
    assert (await rig.counters())["succeeded"] == 1


async def test_who_does_not_hold_the_lease_is_told_lost(rig: Rig) -> None:
    retried, released, dead, running, reaped = await rig.held(5)
    (waiting,) = await rig.add()
    await rig.broker.leases.fail(rig.shard, [(*retried, "{}", HOUR, False), (*dead, "{}", 0, True)], now=NOW)
    await rig.broker.leases.release(rig.shard, [released], now=NOW)
    await rig.broker.leases.extend(rig.shard, HOUR, [running], now=NOW)
    assert (await rig.broker.maintenance.reap(rig.shard, 5, [0], now=NOW + LEASE)).outcomes == [(reaped[0], "retry")]
    strangers = [
        retried,
        released,
        dead,
        reaped,
        (running[0], "1.x"),
        (running[0], running[1][:-3] + "999"),
        (running[0], "2.c"),
        (waiting, "1.c"),
        ("no", ""),
    ]
    async with rig.unchanged():
        answers = await rig.broker.leases.complete(rig.shard, [(*held, "1") for held in strangers], now=NOW)
    assert answers == ["lost"] * len(strangers)


async def test_an_older_token_than_the_previous_one_is_lost(rig: Rig) -> None:
    ((job_id, first),) = await rig.held()
    await rig.broker.leases.release(rig.shard, [(job_id, first)], now=NOW)
    (second,) = (await rig.claim()).jobs
    assert await rig.broker.leases.complete(rig.shard, [(job_id, second.token, "")], now=NOW) == ["ok"]
    async with rig.unchanged():
        assert await rig.broker.leases.complete(rig.shard, [(job_id, first, "")], now=NOW) == ["lost"]
        assert await rig.broker.leases.release(rig.shard, [(job_id, first)], now=NOW) == ["lost"]


async def test_one_lost_job_of_a_batch_leaves_the_others(rig: Rig) -> None:
    first, second, third = await rig.held(3)
    results = [(*first, "1"), (second[0], "1.other", "2"), (*third, "3")]
    assert await rig.broker.leases.complete(rig.shard, results, now=NOW) == ["ok", "lost", "ok"]
    assert (await rig.state(second[0]))["s"] == "r"
    assert set(await rig.scores(rig.keys.done("default"))) == {first[0], third[0]}


async def test_complete_wins_over_a_cancel(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    assert await rig.broker.leases.complete(rig.shard, [(job_id, token, "1")], now=NOW) == ["ok"]
    state = await rig.state(job_id)
    assert state["s"] == "s"
    assert "z" not in state
    assert await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW) == ["finished"]


async def test_a_lapsed_lease_that_was_not_reaped_can_be_completed(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    assert await rig.broker.leases.complete(rig.shard, [(job_id, token, "")], now=NOW + HOUR) == ["ok"]


async def test_a_batch_of_the_largest_size_with_large_results(rig: Rig) -> None:
    held = await rig.held(500)
    results = [(*one, '"' + "x" * 2_000 + '"') for one in held]
    assert await rig.broker.leases.complete(rig.shard, results, now=NOW) == ["ok"] * 500
    assert (await rig.row())["finished"] == 500

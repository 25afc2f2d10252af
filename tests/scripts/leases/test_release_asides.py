"""release: a job whose type has a list set aside, or is not known to the worker, goes to the head of that list."""

from __future__ import annotations

import pytest

from queuey.store.asides import ANY
from queuey.store.keys import asides_channel
from tests.support.scripts.asides import add_types, aside, ids, names, set_aside, type_marked
from tests.support.store import NOW, SECOND, Rig


async def hold(rig: Rig, types: str, **fields: str) -> list[tuple[str, str]]:
    """Enqueue and claim jobs of these types: (id, token) of each."""
    added = await add_types(rig, types, **fields)
    claimed = await rig.claim(len(types), queues=[fields.get("queue", "default")])
    assert ids(claimed) == added
    return [(job.id, job.token) for job in claimed.jobs]


async def test_jobs_of_a_type_that_the_worker_does_not_know_are_set_aside(rig: Rig) -> None:
    await rig.open_gate()
    (x1, y), (x2, z) = await hold(rig, "xx")
    await rig.marked()
    answers = await rig.broker.leases.release(rig.shard, [(x1, y, None, "x"), (x2, z, None, "x")], now=NOW)
    assert answers == ["ok", "ok"]
    assert await aside(rig, "x") == [x1, x2]
    assert await rig.waiting() == []
    assert await names(rig) == " d:x"
    assert await type_marked(rig, "x")
    assert not await rig.marked()
    state = await rig.state(x1)
    assert (state["s"], state.get("a"), state["o"]) == ("w", None, "l")
    assert (await rig.counters())["set_aside"] == 2
    claimed = await rig.claim_typed(9, take={"default": [("default", "x")]})
    assert [(job.id, job.attempt) for job in claimed.jobs] == [(x1, 1), (x2, 1)]


async def test_they_come_before_those_that_were_set_aside_earlier(rig: Rig) -> None:
    ((x1, token),) = await hold(rig, "x")
    (x2,) = await set_aside(rig, "x")
    await rig.broker.leases.release(rig.shard, [(x1, token, None, "x")], now=NOW)
    assert await aside(rig, "x") == [x1, x2]


async def test_a_plain_release_goes_to_the_list_of_its_type_if_there_is_one(rig: Rig) -> None:
    """In the lane, the job would be moved behind all others of the list."""
    (x1, x_token), (a, a_token) = await hold(rig, "xa", priority="low")
    (x2,) = await set_aside(rig, "x", priority="low")
    await type_marked(rig, "x")
    await rig.broker.leases.release(rig.shard, [(x1, x_token), (a, a_token)], now=NOW)
    assert await aside(rig, "x", "low") == [x1, x2]
    assert await rig.waiting(priority="low") == [a]
    assert await type_marked(rig, "x")
    assert await rig.marked()
    assert (await rig.counters())["set_aside"] == 1  # that of the claim


async def test_a_list_of_another_lane_or_queue_does_not_count(rig: Rig) -> None:
    ((x1, token),) = await hold(rig, "x")
    await set_aside(rig, "x", priority="high")
    await set_aside(rig, "x", queue="mail")
    await rig.broker.leases.release(rig.shard, [(x1, token)], now=NOW)
    assert await rig.waiting() == [x1]


async def test_a_lease_that_was_extended_is_lost(rig: Rig) -> None:
    await rig.open_gate()
    ((x1, token),) = await hold(rig, "x")
    async with rig.unchanged():
        assert await rig.broker.leases.release(rig.shard, [(x1, token, 1, "x")], now=NOW) == ["lost"]


async def test_the_same_release_again_is_ok_again(rig: Rig) -> None:
    await rig.open_gate()
    ((x1, token),) = await hold(rig, "x")
    await rig.broker.leases.release(rig.shard, [(x1, token, None, "x")], now=NOW)
    async with rig.unchanged():
        assert await rig.broker.leases.release(rig.shard, [(x1, token, None, "x")], now=NOW) == ["ok"]


async def test_a_new_name_is_published(rig: Rig) -> None:
    await rig.open_gate()
    ((x1, token),) = await hold(rig, "x")
    async with rig.client.pubsub() as heard:
        await heard.subscribe(asides_channel())
        assert (await heard.get_message(timeout=5))["type"] == "subscribe"
        await rig.broker.leases.release(rig.shard, [(x1, token, None, "x")], now=NOW)
        assert (await heard.get_message(timeout=5))["data"].decode() == f"{rig.keys.base} default d:x"


async def test_the_33rd_type_goes_to_the_rest(rig: Rig) -> None:
    await rig.open_gate()
    ((x1, token),) = await hold(rig, "x")
    await rig.client.hset(rig.keys.queue("default"), "aside", "".join(f" d:full{i}" for i in range(32)))
    await rig.broker.leases.release(rig.shard, [(x1, token, None, "x")], now=NOW)
    assert await aside(rig, ANY) == [x1]
    assert not await type_marked(rig, ANY)


@pytest.mark.parametrize("flagged", [False, True])
async def test_while_the_gate_is_closed_the_job_is_delayed(rig: Rig, flagged: bool) -> None:
    ((x1, token),) = await hold(rig, "x")
    if flagged:
        await rig.broker.jobs.cancel(rig.shard, [x1], now=NOW)
    await rig.broker.leases.release(rig.shard, [(x1, token, None, "x")], now=NOW)
    due = await rig.scores(rig.keys.scheduled("default", "default"))
    if flagged:
        assert due == {}
        assert (await rig.state(x1))["s"] == "c"
    else:
        assert NOW + SECOND <= due[x1] < NOW + 2 * SECOND
        assert (await rig.state(x1))["r"] == str(due[x1])
    assert await names(rig) is None

"""Suspects: jobs with two crashes or more, which may kill the worker that runs them."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.store.asides import ELSEWHERE, SUSPECTS
from queuey.store.replies import Claimed
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig

LIST = {"default": [("default", SUSPECTS)]}
LATER = NOW + 10 * LEASE


async def claim(rig: Rig, limit: int = 9, *, now: int = LATER, worker: str = "w1", **options: Any) -> Claimed:
    return await rig.claim_typed(limit, now=now, worker=worker, take=LIST, **options)


def ids(claimed: Claimed) -> list[str]:
    return [job.id for job in claimed.jobs]


async def reap(rig: Rig, now: int) -> list[tuple[str, str]]:
    return (await rig.broker.maintenance.reap(rig.shard, 100, [0], now=now)).outcomes


async def suspects(rig: Rig, count: int = 1, **fields: Any) -> list[str]:
    """Jobs with two crashes, in the list of suspects."""
    await rig.open_gate()
    added = await rig.add(count, now=NOW - LEASE, **fields)
    outcomes: list[tuple[str, str]] = []
    for _ in range(2):
        await rig.claim_typed(count, now=NOW - LEASE, isolates=0)
        outcomes = await reap(rig, NOW)
        await rig.broker.maintenance.promote(rig.shard, 10, now=NOW)
    assert sorted(outcomes) == sorted((job_id, "suspect") for job_id in added)
    return [job_id for job_id, _ in outcomes]


async def listed(rig: Rig) -> list[str]:
    return [entry.decode() for entry in await rig.client.lrange(rig.keys.aside("default", "default", SUSPECTS), 0, -1)]


# --- crashes -------------------------------------------------------------------------------------------------------


async def test_the_first_crash_sends_a_job_back_to_its_lane_and_the_second_sets_it_aside(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    assert await listed(rig) == [job_id]
    assert await rig.waiting() == []
    assert (await rig.row())["default"] == 1, "it is queued"
    assert await rig.marked()


async def test_until_all_replicas_know_lists_set_aside_the_third_crash_is_the_end(rig: Rig) -> None:
    job_id = await rig.crashed(crashes=2)
    await rig.claim()
    assert await reap(rig, NOW + LEASE) == [(job_id, "dead")]


async def test_a_job_with_one_crash_runs_beside_others_like_it(rig: Rig) -> None:
    await rig.open_gate()
    held = await rig.held(2)
    await reap(rig, NOW + LEASE)
    assert ids(await rig.claim(9, isolates=0, now=NOW + LEASE)) == [job_id for job_id, _ in held]


# --- in a child process of its own ---------------------------------------------------------------------------------


async def test_a_worker_with_children_gets_as_many_as_it_can_isolate_and_others_beside(rig: Rig) -> None:
    first, second, third = await suspects(rig, 3)
    (fresh,) = await rig.add(now=LATER)
    claimed = await claim(rig, isolates=2)
    assert ids(claimed) == [first, second, fresh]
    assert [job.crashes for job in claimed.jobs] == [2, 2, 0]
    assert {(await rig.state(job_id))["A"] for job_id in (first, second)} == {"c"}
    assert await listed(rig) == [third]


async def test_it_gets_no_more_than_it_can_isolate_from_all_lanes(rig: Rig) -> None:
    (default,) = await suspects(rig)
    (high,) = await suspects(rig, priority="high")
    claimed = await claim(rig, isolates=1, suspects=1)
    assert ids(claimed) == [default]  # it has waited for longer than max_starve_ms
    assert not claimed.more
    left = await rig.client.lrange(rig.keys.aside("default", "high", SUSPECTS), 0, -1)
    assert [entry.decode() for entry in left] == [high]


async def test_it_gets_no_more_than_it_can_isolate_from_a_lane(rig: Rig) -> None:
    await suspects(rig, 2)
    for job in (await claim(rig, isolates=2)).jobs:
        await rig.broker.leases.fail(rig.shard, [(job.id, job.token, "{}", 0, False)], now=LATER)
    assert len((await claim(rig, isolates=1, suspects=1)).jobs) == 1


async def test_without_isolation_left_it_gets_none(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    assert ids(await claim(rig, isolates=0)) == []
    assert await listed(rig) == [job_id]


async def test_a_suspect_that_comes_from_its_lane_is_isolated_too(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    (job,) = (await claim(rig, isolates=1)).jobs
    failure = (job_id, job.token, "{}", 0, False)
    assert await rig.broker.leases.fail(rig.shard, [failure], now=LATER) == ["retry"]
    assert "A" not in await rig.state(job_id)
    (again,) = (await claim(rig, isolates=1)).jobs
    assert again.id == job_id
    assert (await rig.state(job_id))["A"] == "c"


async def test_a_lapsed_lease_of_an_isolated_run_is_final_only_at_the_tenth_crash(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    now = LATER
    for crash in range(3, 11):
        assert ids(await claim(rig, isolates=1, now=now)) == [job_id]
        now += LEASE
        assert await reap(rig, now) == [(job_id, "dead" if crash == 10 else "suspect")]
    assert (await rig.state(job_id))["s"] == "d"


async def test_a_worker_leaves_a_suspect_of_a_type_that_it_does_not_know(rig: Rig) -> None:
    unknown, known = await suspects(rig, 2)
    definition = (await rig.stored(known)).definition.split("\n")[1]
    (other,) = await suspects(rig, body=definition.replace('"t"', '"other"').replace('"test"', '"other"'))
    claimed = await claim(rig, isolates=2, room=[(5, ["other"])], others=False)
    assert ids(claimed) == [other]
    assert sorted(await listed(rig)) == sorted([unknown, known])


async def test_a_suspect_counts_against_the_room_of_its_type(rig: Rig) -> None:
    """Also in a child process of its own. What has no room leaves the head of the list to the others."""
    full = await suspects(rig)
    definition = (await rig.stored(full[0])).definition.split("\n")[1]
    others = await suspects(rig, 2, body=definition.replace('"t"', '"other"').replace('"test"', '"other"'))
    room = [(0, ["t"]), (1, ["other"]), (4, ["another"])]
    claimed = await claim(rig, 5, isolates=2, room=room, others=False)
    assert ids(claimed) == others[:1]
    assert sorted(await listed(rig)) == sorted([*full, others[1]])
    assert ids(await claim(rig, 5, isolates=1, room=[(1, ["t"]), (0, ["other"])], others=False)) == full


# --- alone on its worker -------------------------------------------------------------------------------------------


async def test_a_worker_without_children_that_holds_nothing_gets_one_and_nothing_beside(rig: Rig) -> None:
    first, second = await suspects(rig, 2)
    await rig.add(now=LATER)
    assert ids(await claim(rig)) == [first]
    assert (await rig.state(first))["A"] == "a"
    assert ids(await claim(rig, now=LATER + 4 * SECOND)) == []
    assert not (await claim(rig, now=LATER + 4 * SECOND)).more
    assert (await claim(rig, now=LATER + 4 * SECOND)).due_in_ms == SECOND
    assert ids(await claim(rig, worker="w2", now=LATER + 1)) == [second]


async def test_the_plain_claim_of_a_worker_that_is_alone_asks_it_to_claim_by_type(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    assert ids(await claim(rig)) == [job_id]
    await rig.add(now=LATER)
    plain = await rig.claim(9, worker="w1", now=LATER + 1)
    assert (ids(plain), plain.asides is not None) == ([], True)
    await rig.broker.maintenance.tidy_asides(rig.shard)
    plain = await rig.claim(9, worker="w1", now=LATER + 1)
    assert (ids(plain), plain.asides is not None) == ([], True)


@pytest.mark.parametrize("move", ["complete", "fail", "release", "cancel"])
async def test_its_end_gives_the_worker_free(rig: Rig, move: str) -> None:
    (job_id,) = await suspects(rig)
    (job,) = (await claim(rig)).jobs
    (fresh,) = await rig.add(now=LATER)
    leases = rig.broker.leases
    if move == "complete":
        await leases.complete(rig.shard, [(job_id, job.token, "")], now=LATER)
    elif move == "release":
        await leases.release(rig.shard, [(job_id, job.token)], now=LATER)
        assert await listed(rig) == [job_id]
    else:
        if move == "cancel":
            await rig.broker.jobs.cancel(rig.shard, [job_id], now=LATER)
        await leases.fail(rig.shard, [(job_id, job.token, "{}", LEASE, False)], now=LATER)
    assert not await rig.client.exists(rig.keys.alone("w1"))
    assert fresh in ids(await claim(rig, isolates=0))


async def test_when_its_time_is_over_the_worker_gets_others_and_its_end_proves_nothing(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    (job,) = (await claim(rig)).jobs
    (fresh,) = await rig.add(now=LATER)
    await rig.broker.leases.extend(rig.shard, LEASE, [(job_id, job.token)], now=LATER + 5 * SECOND)
    assert ids(await claim(rig, now=LATER + 5 * SECOND)) == [fresh]
    assert "A" not in await rig.state(job_id)
    outcomes = dict(await reap(rig, LATER + 5 * SECOND + LEASE))
    assert outcomes == {job_id: "suspect", fresh: "retry"}


async def test_a_worker_that_started_again_waits_for_the_end_of_its_suspect(rig: Rig) -> None:
    """It has the name of the one that died, and its lease was not extended after the time for which it is alone."""
    (job_id,) = await suspects(rig)
    (job,) = (await claim(rig)).jobs
    await rig.add(now=LATER)
    await rig.broker.leases.extend(rig.shard, LEASE, [(job_id, job.token)], now=LATER + 4 * SECOND)
    for seconds in (5, 20, 33):
        claimed = await claim(rig, now=LATER + seconds * SECOND)
        assert (ids(claimed), claimed.due_in_ms) == ([], SECOND)
    assert await reap(rig, LATER + 34 * SECOND) == [(job_id, "dead")]
    assert len((await claim(rig, now=LATER + 34 * SECOND)).jobs) == 1


async def test_a_lease_of_hours_is_not_waited_for(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    assert ids(await claim(rig, lease_ms=HOUR)) == [job_id]
    (fresh,) = await rig.add(now=LATER)
    assert ids(await claim(rig, now=LATER + 5 * SECOND)) == [fresh]


async def test_a_worker_that_dies_of_it_alone_proves_it(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    assert ids(await claim(rig)) == [job_id]
    assert await reap(rig, LATER + LEASE) == [(job_id, "dead")]
    assert ids(await rig.claim(worker="w1", now=LATER + LEASE)) == []


async def test_it_is_alone_for_longer_with_each_crash(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    now = LATER
    for seconds in (5, 10, 20):
        (job,) = (await claim(rig, now=now)).jobs
        assert (await claim(rig, now=now)).due_in_ms == seconds * SECOND
        (fresh,) = await rig.add(now=now)
        over = now + seconds * SECOND
        await rig.broker.leases.extend(rig.shard, LEASE, [(job_id, job.token)], now=over)
        assert ids(await claim(rig, now=over)) == [fresh]
        now += 2 * LEASE
        assert dict(await reap(rig, now))[job_id] == "suspect"
        await rig.broker.jobs.cancel(rig.shard, [fresh], now=now)


# --- a worker that never is idle -----------------------------------------------------------------------------------


async def test_who_holds_a_job_of_any_queue_gets_no_suspect(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    await rig.add(queue="other", now=LATER)
    await rig.claim(queues=["other"], worker="w1", now=LATER)
    assert ids(await claim(rig, now=LATER)) == []
    assert ids(await claim(rig, worker="w2", now=LATER)) == [job_id]


async def test_one_worker_takes_nothing_more_once_a_suspect_has_waited_for_a_minute(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    first, second, third = await rig.add(3, now=NOW)
    for worker, job in (("w1", first), ("w2", second)):
        assert ids(await claim(rig, 1, worker=worker, now=NOW, isolates=0)) == [job]
    late = NOW + 60 * SECOND
    assert ids(await claim(rig, now=late)) == [], "it drains"
    assert ids(await claim(rig, worker="w2", now=late)) == [third], "and no other one"
    await rig.broker.leases.complete(rig.shard, [(first, (await token(rig, first)), "")], now=late)
    assert ids(await claim(rig, now=late + 1)) == [job_id]


async def test_after_ten_minutes_a_suspect_runs_beside_others(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    await rig.add(2, now=NOW)
    assert len((await claim(rig, 1, now=NOW, isolates=0)).jobs) == 1
    claimed = await claim(rig, now=NOW + 600 * SECOND)
    assert job_id in ids(claimed)
    assert len(claimed.jobs) == 2
    assert "A" not in await rig.state(job_id)


async def test_a_drain_goes_on_for_as_long_as_its_worker_asks(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    first, second, _ = await rig.add(3, now=NOW)
    for worker, job in (("w1", first), ("w2", second)):
        assert ids(await claim(rig, 1, worker=worker, now=NOW, isolates=0)) == [job]
    for seconds in range(60, 200, 50):
        assert ids(await claim(rig, now=NOW + seconds * SECOND)) == []
    late = NOW + 200 * SECOND
    assert ids(await claim(rig, 1, worker="w2", now=late)) != [], "the other one goes on"
    await rig.broker.leases.complete(rig.shard, [(first, (await token(rig, first)), "")], now=late)
    assert ids(await claim(rig, now=late)) == [job_id]


async def test_a_worker_that_does_not_know_its_type_does_not_drain_for_it(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    other = await rig.add(2, body='{"type":"other"}')
    knows: Any = {"room": [(9, ["other"])], "others": False}
    assert ids(await claim(rig, 1, now=NOW, isolates=0, **knows)) == other[:1]
    assert ids(await claim(rig, now=NOW + 70 * SECOND, **knows)) == other[1:]
    assert await listed(rig) == [job_id]


async def test_two_suspects_are_never_on_one_worker(rig: Rig) -> None:
    first, second = await suspects(rig, 2)
    assert ids(await claim(rig, now=LATER)) == [first]
    assert ids(await claim(rig, now=LATER + 660 * SECOND)) == [], "it drains instead"
    assert await listed(rig) == [second]


# --- what one queue does not show ----------------------------------------------------------------------------------


@pytest.mark.parametrize("asks", [{"queues": ["other"]}, {}])
async def test_a_worker_that_is_alone_gets_no_job_of_another_queue_or_while_its_queue_is_paused(
    rig: Rig, asks: dict[str, Any]
) -> None:
    (job_id,) = await suspects(rig)
    assert ids(await claim(rig)) == [job_id]
    await rig.add(queue="other", now=LATER)
    if not asks:
        await rig.broker.queues.pause(rig.shard, "default", "", now=LATER)
        asks = {"queues": ["default", "other"]}
    plain = await rig.claim(9, worker="w1", now=LATER + 1, **asks)
    assert (ids(plain), plain.asides is not None) == ([], True)
    assert ids(await claim(rig, now=LATER + 1, **asks)) == []
    assert len((await rig.claim(9, worker="w2", now=LATER + 1, queues=["other"])).jobs) == 1


async def test_a_worker_that_is_alone_rests_while_all_its_queues_are_paused(rig: Rig) -> None:
    await suspects(rig)
    await claim(rig)
    await rig.broker.queues.pause(rig.shard, "default", "", now=LATER)
    claimed = await claim(rig, now=LATER + 1)
    assert (ids(claimed), claimed.rests, claimed.due_in_ms) == ([], True, 5 * SECOND - 1)


async def test_a_worker_with_jobs_of_another_shard_is_not_alone(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    assert ids(await claim(rig, now=NOW, isolates=ELSEWHERE)) == []
    assert ids(await claim(rig, now=NOW + 600 * SECOND, isolates=ELSEWHERE)) == [job_id]
    assert "A" not in await rig.state(job_id)


async def test_a_worker_with_jobs_of_another_shard_does_not_drain(rig: Rig) -> None:
    """It would get no job of this shard for minutes, and could not become empty by that."""
    await suspects(rig)
    first, second = await rig.add(2, now=NOW)
    assert ids(await claim(rig, 1, now=NOW, isolates=ELSEWHERE)) == [first]
    assert ids(await claim(rig, 1, now=NOW + 60 * SECOND, isolates=ELSEWHERE)) == [second]


async def test_a_suspect_behind_many_of_unknown_types_is_found(rig: Rig) -> None:
    for _ in range(4):
        await suspects(rig, 10, body='{"type":"unknown"}')
    (job_id,) = await suspects(rig, body='{"type":"a"}')
    found = [ids(await claim(rig, room=[(5, ["a"])], others=False)) for _ in range(2)]
    assert found == [[], [job_id]]


async def test_the_reply_says_that_the_worker_gets_nothing_for_now(rig: Rig) -> None:
    await suspects(rig)
    await rig.add(3, now=NOW)
    assert not (await claim(rig, 1, now=NOW, isolates=0)).rests
    assert (await claim(rig, now=NOW + 60 * SECOND)).rests, "it drains"
    assert (await claim(rig, worker="w2", now=LATER)).rests, "it runs a suspect alone"
    assert (await claim(rig, worker="w2", now=LATER + 1)).rests


@pytest.mark.parametrize("is_typed", [False, True])
async def test_a_suspect_that_comes_from_its_lane_waits_with_the_others(rig: Rig, is_typed: bool) -> None:
    (job_id,) = await suspects(rig)
    (job,) = (await claim(rig, isolates=1)).jobs
    await rig.broker.leases.fail(rig.shard, [(job_id, job.token, "{}", 0, False)], now=LATER)
    await rig.broker.maintenance.tidy_asides(rig.shard)
    (fresh,) = await rig.add(now=LATER)
    claimed = await (claim(rig, isolates=0) if is_typed else rig.claim(9, now=LATER))
    assert ids(claimed) == [fresh]
    assert await listed(rig) == [job_id]
    assert await rig.scores(rig.keys.scheduled("default", "default")) == {}
    assert ids(await claim(rig, worker="w2", now=LATER + 1)) == [job_id]


async def token(rig: Rig, job_id: str) -> str:
    state = await rig.state(job_id)
    return f"{state['n']}.{state['h']}"


async def test_a_claim_of_a_suspect_that_is_sent_again_brings_it_again(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    for _ in range(2):
        assert ids(await claim(rig, claim_id="same")) == [job_id]


async def test_suspects_come_back_by_their_key_after_their_name_was_lost(rig: Rig) -> None:
    (job_id,) = await suspects(rig)
    await rig.client.hdel(rig.keys.queue("default"), "aside")
    assert await rig.broker.maintenance.name_asides(rig.shard, [("default", "default", SUSPECTS)]) == 1
    assert await rig.broker.maintenance.name_asides(rig.shard, [("default", "default", SUSPECTS)]) == 0
    assert ids(await claim(rig, isolates=1)) == [job_id]

"""claim_typed: claims what its caller can begin, and sets aside what it meets and cannot begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from queuey.store.asides import ANY, Room
from queuey.store.keys import asides_channel
from queuey.store.replies import Claimed
from tests.support.scripts.asides import add_types, aside, ids, names, set_aside, type_marked
from tests.support.scripts.plain_ways import commands_of
from tests.support.store import LEASE, NOW, SECOND, Rig

A = [Room(10, ["a"])]


async def test_it_claims_what_has_room_and_sets_the_rest_aside(rig: Rig) -> None:
    await rig.open_gate()
    first, second, third, fourth, fifth = await add_types(rig, "abbab")
    claimed = await rig.claim_typed(4, room=[Room(2, ["a"]), Room(1, ["b"])], others=False)
    assert ids(claimed) == [first, second, fourth]
    assert await aside(rig, "b") == [third]
    assert await rig.waiting() == [fifth]  # the room was used up, so nothing behind was looked at
    assert claimed.asides == [("default", " d:b")]
    assert await names(rig) == " d:b"
    assert await type_marked(rig, "b")
    assert (await rig.counters())["set_aside"] == 1


async def test_the_jobs_of_an_entry_share_its_room(rig: Rig) -> None:
    await rig.open_gate()
    first, second, third = await add_types(rig, "abc")
    assert ids(await rig.claim_typed(9, room=[Room(2, ["a", "b", "c"])], others=False)) == [first, second]
    assert await rig.waiting() == [third]


@pytest.mark.parametrize(("others", "taken"), [(True, [0, 1]), (False, [0])])
async def test_types_without_an_entry_are_taken_on_request(rig: Rig, others: bool, taken: Sequence[int]) -> None:
    await rig.open_gate()
    added = await add_types(rig, "ax")
    claimed = await rig.claim_typed(9, room=A, others=others)
    assert ids(claimed) == [added[i] for i in taken]
    assert await aside(rig, "x") == [job_id for job_id in added if job_id not in ids(claimed)]


async def test_without_entries_it_takes_every_type(rig: Rig) -> None:
    await rig.open_gate()
    added = await add_types(rig, "abx")
    assert ids(await rig.claim_typed(9, others=False)) == added


async def test_a_job_that_was_set_aside_waits_like_any_other(rig: Rig) -> None:
    (job_id,) = await set_aside(rig, "x")
    assert await rig.state(job_id) == {}
    (answer,) = await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    assert answer == "cancelled"
    claimed = await rig.claim_typed(9, take={"default": [("default", "x")]})
    assert not claimed.jobs
    assert await aside(rig, "x") == []
    assert await rig.client.hget(rig.keys.queue("default"), "tombstones_default") == b"0"


async def test_claim_replies_with_the_names_and_claims_nothing(rig: Rig) -> None:
    await set_aside(rig, "x")
    await set_aside(rig, "y", priority="high")
    added = await add_types(rig, "a")
    async with rig.unchanged():
        claimed = await rig.claim(9, claim_id="one", queues=["other", "default"])
    assert claimed == Claimed([], 0, True, asides=[("default", " d:x h:y")])
    assert ids(await rig.claim_typed(9, claim_id="one")) == added


async def test_claim_does_not_look_at_the_names_of_a_paused_queue(rig: Rig) -> None:
    await set_aside(rig, "x", queue="mail")
    (job_id,) = await add_types(rig, "a")
    await rig.broker.queues.pause(rig.shard, "mail", "", "", now=NOW)
    claimed = await rig.claim(9, queues=["mail", "default"])
    assert ids(claimed) == [job_id]
    assert claimed.asides is None


async def test_a_repeat_replies_with_the_jobs_of_the_first_time(rig: Rig) -> None:
    await rig.open_gate()
    added = await add_types(rig, "axa")
    await rig.claim_typed(9, claim_id="one", room=A, others=False)
    for again in (
        await rig.claim_typed(9, claim_id="one", room=A, others=False),
        await rig.claim(9, claim_id="one"),
    ):
        assert ids(again) == [added[0], added[2]]
        assert again.repeated
        assert again.asides is None


# --- lists set aside -----------------------------------------------------------------------------------------------


async def test_only_the_lists_that_are_named_are_claimed_from(rig: Rig) -> None:
    x, y = await set_aside(rig, "xy")
    claimed = await rig.claim_typed(9, take={"default": [("default", "y")]})
    assert ids(claimed) == [y]
    assert claimed.asides == [("default", " d:x d:y")]  # a name outlives its list
    assert await aside(rig, "x") == [x]


async def test_lists_are_claimed_from_as_far_as_their_type_has_room(rig: Rig) -> None:
    x1, _, _ = await set_aside(rig, "xxy")
    take = {"default": [("default", "x"), ("default", "y")]}
    claimed = await rig.claim_typed(9, room=[Room(1, ["x"]), Room(0, ["y"])], others=True, take=take)
    assert ids(claimed) == [x1]
    assert not claimed.more  # what is left has no room


async def test_the_list_whose_head_is_oldest_comes_first(rig: Rig) -> None:
    await rig.open_gate()
    made = ["00" + f"01JZZZZZZ{i}" + "0" * 16 for i in range(4)]
    if rig.broker.shards.of_job(made[0]) != rig.shard:
        made = ["01" + job_id[2:] for job_id in made]
    await rig.add(body='{"type":"x"}', id=made[1])
    await rig.add(body='{"type":"y"}', id=made[0])
    await rig.claim_typed(9, room=A, others=False)
    await rig.add(body='{"type":"a"}', id=made[2])
    take = {"default": [("default", "x"), ("default", "y")]}
    assert ids(await rig.claim_typed(9, take=take)) == made[:1] + made[1:2] + made[2:3]


async def test_jobs_of_a_type_keep_their_order(rig: Rig) -> None:
    """A job of the lane goes behind those of its type that were set aside, whether or not the claim takes these."""
    first = await set_aside(rig, "xx")
    (third,) = await add_types(rig, "x")
    assert not (await rig.claim_typed(9)).jobs  # it does not name the list
    assert await aside(rig, "x") == [*first, third]
    (fourth,) = await add_types(rig, "x")
    take = {"default": [("default", "x")]}
    assert ids(await rig.claim_typed(2, take=take)) == first
    assert ids(await rig.claim_typed(9, take=take)) == [third, fourth]


async def test_a_list_that_is_empty_and_named_lets_the_lane_be_claimed_from(rig: Rig) -> None:
    await set_aside(rig, "x")
    take = {"default": [("default", "x")]}
    await rig.claim_typed(9, take=take)
    (job_id,) = await add_types(rig, "x")
    assert ids(await rig.claim_typed(9, take=take)) == [job_id]


async def test_lanes_stay_strict(rig: Rig) -> None:
    (low,) = await set_aside(rig, "x", priority="low")
    (high,) = await set_aside(rig, "x", priority="high")
    (default,) = await add_types(rig, "a")
    take = {"default": [("high", "x"), ("low", "x")]}
    assert ids(await rig.claim_typed(9, take=take)) == [high, default, low]


async def test_the_guard_against_starvation_knows_the_lists(rig: Rig) -> None:
    (low,) = await set_aside(rig, "x", priority="low", now=NOW - 1_000 * SECOND)
    high = await add_types(rig, "aa", priority="high")
    take = {"default": [("low", "x")]}
    assert ids(await rig.claim_typed(2, take=take)) == [low, high[0]]


async def test_a_list_of_a_higher_lane_counts_for_the_guard(rig: Rig) -> None:
    (high,) = await set_aside(rig, "x", priority="high")
    (low,) = await add_types(rig, "a", priority="low", now=NOW - 1_000 * SECOND)
    assert ids(await rig.claim_typed(1, take={"default": [("high", "x")]})) == [low]
    assert ids(await rig.claim_typed(1, take={"default": [("high", "x")]})) == [high]


async def test_a_job_that_expired_in_a_list_is_cancelled(rig: Rig) -> None:
    (job_id,) = await set_aside(rig, "x", extra="x=500")
    assert not (await rig.claim_typed(9, take={"default": [("default", "x")]}, now=NOW + SECOND)).jobs
    assert (await rig.state(job_id))["s"] == "c"


async def test_a_job_that_is_cancelled_and_sent_again_leaves_the_count_of_tombstones_exact(rig: Rig) -> None:
    x1, x2 = await set_aside(rig, "xx")
    await rig.broker.jobs.cancel(rig.shard, [x1], now=NOW)
    await rig.broker.jobs.delete(rig.shard, [x1])
    await rig.add(body='{"type":"x"}', id=x1, queue="mail")
    assert ids(await rig.claim_typed(9, take={"default": [("default", "x")]})) == [x2]
    assert await rig.client.hget(rig.keys.queue("default"), "tombstones_default") == b"0"


# --- bounds --------------------------------------------------------------------------------------------------------


async def test_a_call_sets_aside_at_most_100_jobs(rig: Rig) -> None:
    await rig.open_gate()
    added = await add_types(rig, "x" * 101 + "a")
    claimed = await rig.claim_typed(1, room=A, others=False)
    assert not claimed.jobs
    assert claimed.more
    assert await rig.marked()
    assert len(await aside(rig, "x")) == 100
    assert ids(await rig.claim_typed(1, room=A, others=False)) == added[-1:]


async def test_a_queue_names_at_most_32_types_that_are_not_known_and_64_in_all(rig: Rig) -> None:
    await rig.open_gate()
    for i in range(40):
        await rig.add(body=f'{{"type":"x{i}"}}')
    await rig.claim_typed(1, room=[Room(1, ["none"])], others=False)
    assert len(((await names(rig)) or "").split()) == 33
    assert len(await aside(rig, ANY)) == 8
    known = [f"k{i}" for i in range(40)]
    for name in known:
        await rig.add(body=f'{{"type":"{name}"}}')
    claimed = await rig.claim_typed(1, room=[Room(0, known), Room(1, ["none"])], others=False)
    assert len(((await names(rig)) or "").split()) == 65
    assert len(await aside(rig, ANY)) == 16
    assert claimed.asides == [("default", await names(rig))]


async def rest(rig: Rig, types: Sequence[str]) -> list[str]:
    """Fill the names of a queue, and have jobs of these types in the list '*'."""
    await rig.open_gate()
    text = "".join(f" d:full{i}" for i in range(32))
    await rig.client.hset(rig.keys.queue("default"), "aside", text)
    added = [(await rig.add(body=f'{{"type":"{name}"}}'))[0] for name in types]
    await rig.claim_typed(1, room=[Room(1, ["none"])], others=False)
    assert await aside(rig, ANY) == added
    return added


TAKE_REST = {"default": [("default", ANY)]}


async def test_the_rest_has_no_marker_and_is_looked_at_on_request(rig: Rig) -> None:
    first, _, third = await rest(rig, "xyx")
    assert not await type_marked(rig, ANY)
    assert not (await rig.claim_typed(9)).jobs
    assert ids(await rig.claim_typed(9, room=[Room(5, ["x"])], others=False, take=TAKE_REST)) == [first, third]


async def test_a_look_at_the_rest_turns_32_entries(rig: Rig) -> None:
    added = await rest(rig, ["y"] * 40 + ["x"])
    claimed = await rig.claim_typed(9, room=[Room(5, ["x"])], others=False, take=TAKE_REST)
    assert not claimed.jobs
    assert not claimed.more
    assert await aside(rig, ANY) == added[32:] + added[:32]
    assert ids(await rig.claim_typed(9, room=[Room(5, ["x"])], others=False, take=TAKE_REST)) == added[-1:]


async def test_a_worker_that_knows_a_type_of_the_rest_names_it(rig: Rig) -> None:
    first, second, third = await rest(rig, "xyx")
    claimed = await rig.claim_typed(9, room=[Room(1, ["x"]), Room(1, ["none"])], others=False, take=TAKE_REST)
    assert ids(claimed) == [first]
    assert str(await names(rig)).endswith(" d:* d:x")
    assert await aside(rig, ANY) == [second]
    assert await aside(rig, "x") == [third]
    assert await type_marked(rig, "x")


async def test_a_type_without_a_name_is_of_the_rest(rig: Rig) -> None:
    await rig.open_gate()
    (job_id,) = await rig.add(body='{"payload":1}')
    await rig.claim_typed(1, room=A, others=False)
    assert await aside(rig, ANY) == [job_id]


# --- waking --------------------------------------------------------------------------------------------------------


async def test_a_new_name_is_published_once(rig: Rig) -> None:
    await rig.open_gate()
    async with rig.client.pubsub() as heard:
        await heard.subscribe(asides_channel())
        assert (await heard.get_message(timeout=5))["type"] == "subscribe"
        await set_aside(rig, "x")
        await set_aside(rig, "x")
        await set_aside(rig, "y")
        messages = [(await heard.get_message(timeout=5))["data"].decode() for _ in range(2)]
        assert await heard.get_message(timeout=0.05) is None
    assert messages == [f"{rig.keys.base} default d:x", f"{rig.keys.base} default d:x d:y"]


async def test_each_call_that_sets_a_job_aside_puts_the_marker(rig: Rig) -> None:
    for _ in range(2):
        await set_aside(rig, "x")
        assert await type_marked(rig, "x")


async def test_a_marker_goes_back_where_jobs_are_left(rig: Rig) -> None:
    await set_aside(rig, "xxy")
    assert await type_marked(rig, "x")
    assert await type_marked(rig, "y")
    take = {"default": [("default", "x"), ("default", "y")]}
    await rig.claim_typed(9, room=[Room(1, ["x"]), Room(1, ["y"])], take=take, woken=["x", "y"])
    assert await type_marked(rig, "x")
    assert not await type_marked(rig, "y")


async def test_more_means_jobs_that_can_begin(rig: Rig) -> None:
    await set_aside(rig, "xx")
    take = {"default": [("default", "x")]}
    assert (await rig.claim_typed(1, take=take)).more
    assert not (await rig.claim_typed(1, take=take)).more


# --- the gate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [None, "limits", "asides"])
async def test_while_the_gate_is_closed_a_job_is_delayed_instead(rig: Rig, features: str | None) -> None:
    if features is not None:
        await rig.client.hset(rig.keys.meta, "features", features)
    x1, x2, a = await add_types(rig, "xxa")
    claimed = await rig.claim_typed(9, room=A, others=False)
    assert ids(claimed) == [a]
    assert claimed.asides is None
    due = await rig.scores(rig.keys.scheduled("default", "default"))
    assert sorted(due) == sorted([x1, x2])
    assert NOW + SECOND <= due[x1] < due[x2] < NOW + 2 * SECOND
    assert claimed.due_in_ms == due[x1] - NOW
    assert await names(rig) is None
    assert "set_aside" not in await rig.counters()


async def test_the_gate_may_be_open_for_several_features(rig: Rig) -> None:
    await rig.client.hset(rig.keys.meta, "features", "limits aside")
    (job_id,) = await add_types(rig, "x")
    await rig.claim_typed(9, room=A, others=False)
    assert await aside(rig, "x") == [job_id]


async def test_a_suspect_of_a_list_goes_to_the_suspects_as_one_of_a_lane(rig: Rig) -> None:
    job_id = await rig.crashed(crashes=2, body='{"type":"x"}')
    await rig.open_gate()
    await rig.claim_typed(9, room=A, others=False)
    assert await aside(rig, "x") == [job_id]
    take = {"default": [("default", "x")]}
    assert not (await rig.claim_typed(9, take=take, isolates=0)).jobs
    assert await aside(rig, "!") == [job_id]


async def test_the_moves_of_a_claim_by_type_are_reported(rig: Rig) -> None:
    await rig.open_gate()
    moves = rig.listen()
    a, x = await add_types(rig, "ax")
    moves.clear()
    claimed = await rig.claim_typed(9, room=A, others=False)
    assert moves == [(a, "running")]
    assert x not in ids(claimed)
    assert await rig.scores(rig.keys.leases("default")) == {a: NOW + LEASE}


# --- the idle way --------------------------------------------------------------------------------------------------


async def idle_commands(rig: Rig, **options: Any) -> tuple[Claimed, dict[str, int]]:
    """The reply to a claim by a worker that knows `a`, and the commands of its script."""
    replies: list[Claimed] = []

    async def call() -> None:
        replies.append(await rig.claim_typed(9, room=A, others=False, **options))

    await rig.broker.scripts.load(rig.client)
    commands = await commands_of(rig.client, call())
    return replies[0], commands


async def test_an_idle_claim_reads_little_and_writes_nothing(rig: Rig) -> None:
    await set_aside(rig, "xy")
    await set_aside(rig, "x", queue="mail")
    await rig.broker.queues.pause(rig.shard, "mail", "by hand")
    (due,) = await add_types(rig, "a", delay_ms=5)
    options: dict[str, Any] = {"queues": ["default", "mail", "other"], "take": {"default": [("default", "a")]}}
    async with rig.unchanged():
        claimed, commands = await idle_commands(rig, **options)
    assert claimed == Claimed([], 5, False, asides=[("default", " d:x d:y"), ("mail", " d:x")])
    assert commands == {"mget": 1, "hmget": 3, "llen": 6, "exists": 3, "zrange": 3}
    claimed, _ = await idle_commands(rig, **options, now=NOW + 5)
    assert ids(claimed) == [due]


@pytest.mark.parametrize("what", ["a list", "a marker", "a lane", "the rest"])
async def test_a_claim_is_not_idle_while_there_is(rig: Rig, what: str) -> None:
    options: dict[str, Any] = {}
    if what == "a list":
        await set_aside(rig, "a")
        options["take"] = {"default": [("default", "a")]}
    elif what == "a marker":
        await set_aside(rig, "x")
        await type_marked(rig, "x")
        options["woken"] = ["x"]
    elif what == "a lane":
        await add_types(rig, "a")
    else:
        await rest(rig, "a")
        options["take"] = TAKE_REST
    claimed, _ = await idle_commands(rig, **options)
    assert len(claimed.jobs) == (what != "a marker")
    assert await type_marked(rig, "x") == (what == "a marker")

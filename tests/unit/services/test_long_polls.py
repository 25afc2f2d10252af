"""Who of those that wait is woken by what, without a store."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from queuey.errors import Full
from queuey.protocol.records import NewJob, NewJobs
from queuey.services.leases import long_polls as polling
from queuey.services.leases.long_polls import LongPolls, Poll
from queuey.store.offers import Offer


def job(queue: str, *, delay_ms: int = 0) -> NewJob:
    return NewJob("0" * 28, queue, "default", "", '{"type":"t"}', delay_ms)


def told(wakeup: asyncio.Future[polling.Wake]) -> list[int] | None:
    """The shards to look at; None while there is nothing to tell."""
    return list(wakeup.result()) if wakeup.done() else None


async def test_a_marker_wakes_the_one_that_has_waited_longest_whatever_else_it_waits_for() -> None:
    polls = LongPolls()
    wakeup = [polls.join(Poll(queues)) for queues in (["b"], ["a", "b"], ["a"], ["b", "a"])]
    assert polls.wake(7, "a")
    assert [told(one) for one in wakeup] == [None, [7], None, None]
    assert polls.wake(8, "a")
    assert polls.wake(9, "a")
    assert [told(one) for one in wakeup] == [None, [7], [8], [9]]
    assert not polls.wake(7, "a")
    assert polls.queues == {"b"}
    assert polls.some.is_set()


async def test_one_of_each_kind_is_woken_when_a_round_ends() -> None:
    polls = LongPolls()
    wakeup = [polls.join(Poll(queues)) for queues in (["a", "b"], ["b", "a"], ["c"])]
    polls.wake_each([0, 1])
    assert [told(one) for one in wakeup] == [[0, 1], None, [0, 1]]


async def test_who_leaves_is_not_woken_and_the_last_one_ends_the_waiting() -> None:
    polls = LongPolls()
    first, second = Poll(["a"]), Poll(["a"])
    wakeup = [polls.join(first), polls.join(second)]
    polls.leave(first)
    polls.leave(first)
    assert polls.wake(0, "a")
    assert [told(one) for one in wakeup] == [None, [0]]
    assert not polls.some.is_set()
    assert not polls.queues
    assert polls.count == 0


async def test_what_this_process_enqueues_wakes_one_for_each_job_that_is_due() -> None:
    polls = LongPolls()
    wakeup = [polls.join(Poll(["a"])) for _ in range(3)]
    polls.expect(4, [job("b"), job("a", delay_ms=1), job("a"), job("a")])
    assert [told(one) for one in wakeup] == [[4], [4], None]
    polls.expect(4, [job("a")] * 1000)
    assert told(wakeup[2]) == [4]
    polls.expect(4, [job("a")])


async def test_a_group_of_jobs_wakes_one_for_each_of_its_jobs() -> None:
    polls = LongPolls()
    wakeup = [polls.join(Poll(["a"])) for _ in range(3)]
    polls.expect(4, [NewJobs("b", "default", "", ["1"], [""], 0), NewJobs("a", "default", "", ["2", "3"], ["", ""], 0)])
    assert [told(one) for one in wakeup] == [[4], [4], None]


async def test_at_the_time_that_a_job_is_due_the_first_of_all_who_may_have_it_looks() -> None:
    polls = LongPolls()
    both, other = polls.join(Poll(["a", "b"])), polls.join(Poll(["c"]))
    polls.due(["a"], 3, 5)
    polls.due(["a"], 3, 100_000)
    polls.due(["a"], 3, -1)
    assert list(await both) == [3]
    assert told(other) is None


async def test_a_closed_crowd_keeps_nobody() -> None:
    polls = LongPolls()
    before = polls.join(Poll(["a"]))
    polls.close()
    after = polls.join(Poll(["a"]))
    assert (told(before), told(after)) == ([], [])
    assert polls.count == 0


async def test_there_is_a_bound_on_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "MAX_PLACES", 5)
    polls = LongPolls()
    first = Poll(["a", "b", "c"])
    polls.join(first)
    with pytest.raises(Full):
        polls.join(Poll(["a", "b", "c"]))
    polls.join(Poll(["a", "b"]))
    polls.leave(first)
    polls.join(Poll(["a", "b", "c"]))


# --- types -------------------------------------------------------------------------------------------------------


def typed(queues: list[str], types: str) -> Poll:
    return Poll(queues, frozenset(types))


def of_type(name: str) -> NewJob:
    return NewJob("0" * 28, "a", "default", "", f'{{"type":"{name}"}}')


async def test_the_marker_of_a_type_wakes_the_first_that_takes_it_and_that_of_the_queue_anybody() -> None:
    polls = LongPolls()
    wakeup = [polls.join(poll) for poll in (typed(["a"], "x"), typed(["a"], "yz"), Poll(["a"]), typed(["a"], "y"))]
    assert polls.wake(0, "a", "y")
    assert [told(one) for one in wakeup] == [None, [0], None, None]
    assert polls.wake(0, "a", "y"), "one without types takes every type"
    assert [told(one) for one in wakeup] == [None, [0], [0], None]
    assert not polls.wake(0, "a", "q")
    assert polls.wake(0, "a")
    assert [told(one) for one in wakeup] == [[0], [0], [0], None]


async def test_what_this_process_enqueues_wakes_one_that_takes_its_type() -> None:
    polls = LongPolls()
    wakeup = [polls.join(typed(["a"], name)) for name in "xyx"]
    polls.expect(0, [of_type("x"), of_type("q"), NewJobs("a", "default", "", ["0" * 28] * 2, ['{"type":"x"}'] * 2, 0)])
    assert [told(one) for one in wakeup] == [[0], None, [0]]


async def test_an_offer_is_made_only_by_one_that_takes_all_types_of_the_enqueue() -> None:
    class Offers(Poll):
        def offer(self, shard: int, types: Collection[str]) -> Offer:
            asked.append(set(types))
            return Offer(claim_id="c", worker="w", lease_ms=1, limit=1, queues=["a"])

    asked: list[set[str]] = []
    polls = LongPolls()
    for types in ("x", "xy"):
        polls.join(Offers(["a"], frozenset(types)))
    assert polls.offer(0, "a", lambda: {"x", "z"}) is None
    assert polls.offer(0, "a", lambda: {"y", "x"}) is not None
    assert (asked, polls.count) == ([{"x", "y"}], 1)
    polls.known.tell(0, ["a"], [("a", " d:q")])
    assert polls.offer(0, "a", lambda: {"x"}) is None, "the queue has a list set aside"


async def test_new_lists_wake_one_request_for_each_and_are_waited_for() -> None:
    polls = LongPolls()
    wakeup = [polls.join(poll) for poll in (typed(["a"], "x"), typed(["a"], "x"), typed(["b"], "x"), typed(["a"], "y"))]
    shard, new = polls.known.hear("queuey:{3}: a d:x l:q h:x d:*")
    assert (shard, new) == (3, [("a", "q"), ("a", "x")])
    assert polls.learned(shard, new)
    assert [told(one) for one in wakeup] == [[3], None, None, None]
    assert list(polls.asides([3])) == [(3, "a", "x")]
    assert list(polls.asides([0])) == []
    assert polls.known.hear("queuey:{3}: a d:x l:q h:x d:*") == (3, [])
    assert polls.known.lists(3, "a") == [("default", "x"), ("low", "q"), ("high", "x"), ("default", "*")]
    assert polls.known.tell(3, ["a"], None) == []
    assert not polls.asides([3])


async def test_types_count_among_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "MAX_PLACES", 4)
    polls = LongPolls()
    first = typed(["a"], "xyz")
    polls.join(first)
    with pytest.raises(Full, match="name fewer queues or types"):
        polls.join(Poll(["a"]))
    polls.leave(first)
    polls.join(Poll(["a", "b", "c", "d"]))


@pytest.mark.parametrize("message", ["", "nothing", "queuey:{x}: a d:x", "{1} a d:x"])
async def test_a_message_that_makes_no_sense_is_ignored(message: str) -> None:
    assert LongPolls().known.hear(message) == (-1, [])

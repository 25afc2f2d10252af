"""Who of those that wait is woken by what, without a store."""

from __future__ import annotations

import asyncio

import pytest

from queuey.errors import Full
from queuey.protocol.records import NewJob, NewJobs
from queuey.services.leases import long_polls as polling
from queuey.services.leases.long_polls import LongPolls, Poll


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

"""Group commit, on a `send` that does as it is told and a clock that jumps."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from queuey.errors import Full, OutcomeUnknown, ScriptFailed, StoreUnavailable
from queuey.store.batching import OVERDUE, RESEND_CAP, RESEND_FIRST, Batcher
from tests.support.virtual_time import in_virtual_time

PATIENCE = 1.5
Answer = Callable[[Sequence[str]], Sequence[str]]


def echo(items: Sequence[str]) -> Sequence[str]:
    return [item.upper() for item in items]


def unavailable(_: Sequence[str]) -> Sequence[str]:
    raise StoreUnavailable("refused")


def unanswered(_: Sequence[str]) -> Sequence[str]:
    raise StoreUnavailable("timed out", maybe_done=True)


class Store:
    """Answers with `answers` in turn, the last of them for ever, each after `seconds`."""

    def __init__(self, *answers: Answer, seconds: float = 0.01) -> None:
        self.batches: list[list[str]] = []
        self.times: list[float] = []
        self.seconds = seconds
        self._answers = list(answers or [echo])

    async def send(self, items: Sequence[str]) -> Sequence[str]:
        self.batches.append(list(items))
        self.times.append(now())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        await asyncio.sleep(self.seconds)
        return answer(items)


def now() -> float:
    return asyncio.get_running_loop().time()


async def outcomes(batcher: Batcher[str, str], *items: str) -> list[str | BaseException]:
    return await asyncio.gather(*(batcher.submit(item) for item in items), return_exceptions=True)


# --- gathering ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_what_comes_together_goes_together_and_is_answered_in_order() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE)
    assert await outcomes(batcher, "a", "b", "c") == ["A", "B", "C"]
    assert store.batches == [["a", "b", "c"]]


@in_virtual_time
async def test_what_comes_while_it_is_held_goes_out_once_it_is_left() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE)
    with batcher.corked():
        answers = [batcher.submit("a")]
        await asyncio.sleep(0.1)
        answers.append(batcher.submit("b"))
        await asyncio.sleep(0.1)
        assert store.batches == []
    with batcher.corked():  # entered again at once, and for long
        assert await asyncio.gather(*answers) == ["A", "B"]
    assert store.batches == [["a", "b"]]


@in_virtual_time
async def test_an_answer_that_cannot_be_taken_keeps_no_other_from_its_own() -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE)
    broken = ValueError("of the test")

    def answer(reply: str | None, error: Exception | None) -> None:
        raise broken

    batcher.tell("a", 100, answer)
    assert await batcher.submit("b") == "B"
    assert faults == [broken]
    assert store.batches == [["a", "b"]], "it was sent once"


@in_virtual_time
async def test_while_one_flush_is_under_way_the_next_gathers() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE)
    first = batcher.submit("a")
    await asyncio.sleep(0.001)
    rest = [batcher.submit(item) for item in "bcd"]
    assert await asyncio.gather(first, *rest) == ["A", "B", "C", "D"]
    assert store.batches == [["a"], ["b", "c", "d"]]


@in_virtual_time
async def test_nothing_waits_for_a_timer() -> None:
    batcher = Batcher(Store(seconds=0).send, resend_for=PATIENCE)
    await batcher.submit("a")
    assert now() == 0


@in_virtual_time
async def test_a_batch_is_bounded_by_count() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE, max_batch=3)
    await outcomes(batcher, *"abcdefgh")
    assert store.batches == [["a", "b", "c"], ["d", "e", "f"], ["g", "h"]]


@in_virtual_time
async def test_a_batch_is_bounded_by_bytes_but_takes_one_item_of_any_size() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE, max_bytes=100)
    sizes = {"a": 40, "b": 60, "c": 1, "d": 500, "e": 100, "f": 99, "g": 1}
    await asyncio.gather(*(batcher.submit(item, size) for item, size in sizes.items()))
    assert store.batches == [["a", "b"], ["c"], ["d"], ["e"], ["f", "g"]]


@in_virtual_time
async def test_above_the_bound_an_item_is_refused_at_once() -> None:
    batcher = Batcher(Store().send, resend_for=PATIENCE, max_waiting=2)
    futures = [batcher.submit("a"), batcher.submit("b")]
    with pytest.raises(StoreUnavailable, match="Too many"):
        batcher.submit("c")
    assert await asyncio.gather(*futures) == ["A", "B"]
    assert await batcher.submit("c") == "C"


@in_virtual_time
async def test_an_item_that_stands_for_several_jobs_counts_as_so_many() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE, max_batch=4, max_waiting=6)
    futures = [batcher.submit("a", count=3), batcher.submit("b"), batcher.submit("c"), batcher.submit("d", count=4)]
    with pytest.raises(StoreUnavailable, match="Too many"):
        batcher.submit("e")
    assert await asyncio.gather(*futures) == ["A", "B", "C", "D"]
    assert store.batches == [["a", "b"], ["c"], ["d"]]


@in_virtual_time
async def test_there_is_room_for_as_many_jobs_as_may_still_wait() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE, max_batch=4, max_waiting=6)
    futures = [batcher.submit("a", count=4), batcher.submit("b")]
    assert batcher.room == 1
    await asyncio.gather(*futures)
    assert batcher.room == 6


@in_virtual_time
async def test_drain_returns_once_nothing_is_left() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE, max_batch=1)
    await batcher.drain()
    futures = [batcher.submit(item) for item in "abc"]
    await batcher.drain()
    assert [future.result() for future in futures] == ["A", "B", "C"]


# --- sent again --------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_an_unanswered_batch_is_sent_again_with_the_same_items() -> None:
    store = Store(unanswered, unavailable, echo)
    batcher = Batcher(store.send, resend_for=PATIENCE)
    first = batcher.submit("a")
    await asyncio.sleep(0.001)
    second = batcher.submit("b")
    assert (await first, await second) == ("A", "B")
    assert store.batches == [["a"], ["a"], ["a"], ["b"]]


@in_virtual_time
async def test_the_pauses_double_up_to_a_second() -> None:
    store = Store(unavailable, seconds=0)
    await outcomes(Batcher(store.send, resend_for=6.0), "a")
    pauses = [round(later - earlier, 6) for earlier, later in zip(store.times, store.times[1:], strict=False)]
    expected = [RESEND_FIRST * 2**n for n in range(6)]
    assert pauses[:6] == pytest.approx(expected)
    assert max(pauses) == RESEND_CAP


@pytest.mark.parametrize(
    ("answer", "error"), [(unavailable, StoreUnavailable), (unanswered, OutcomeUnknown)], ids=["refused", "unanswered"]
)
@in_virtual_time
async def test_at_its_deadline_an_item_is_given_up(answer: Answer, error: type[Exception]) -> None:
    store = Store(answer)
    (outcome,) = await outcomes(Batcher(store.send, resend_for=PATIENCE), "a")
    assert type(outcome) is error
    assert PATIENCE <= now() <= PATIENCE + 0.02, "it was sent a last time at the deadline"
    assert len(store.batches) > 5


@in_virtual_time
async def test_once_it_may_have_been_done_later_refusals_do_not_change_that() -> None:
    (outcome,) = await outcomes(Batcher(Store(unanswered, unavailable).send, resend_for=PATIENCE), "a")
    assert type(outcome) is OutcomeUnknown
    (outcome,) = await outcomes(Batcher(Store(unavailable, unanswered, echo).send, resend_for=PATIENCE), "a")
    assert outcome == "A"


@in_virtual_time
async def test_each_item_has_its_own_deadline() -> None:
    store = Store(unavailable, seconds=0)
    batcher = Batcher(store.send, resend_for=PATIENCE)
    first = batcher.submit("a")
    await asyncio.sleep(PATIENCE - 0.1)
    second = batcher.submit("b")
    assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], StoreUnavailable)
    assert now() == pytest.approx(PATIENCE)
    assert not second.done()
    assert isinstance((await asyncio.gather(second, return_exceptions=True))[0], StoreUnavailable)
    assert now() == pytest.approx(2 * PATIENCE - 0.1)


@in_virtual_time
async def test_a_store_that_hangs_keeps_nobody_longer_than_overdue() -> None:
    store = Store(seconds=3600)
    batcher = Batcher(store.send, resend_for=PATIENCE)
    sent = batcher.submit("a")
    await asyncio.sleep(0.5)
    waiting = batcher.submit("b")
    (outcome,) = await asyncio.gather(sent, return_exceptions=True)
    assert type(outcome) is OutcomeUnknown
    assert now() == pytest.approx(PATIENCE + OVERDUE)
    (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
    assert type(outcome) is StoreUnavailable, "it was never sent"
    assert now() == pytest.approx(0.5 + PATIENCE + OVERDUE)
    await batcher.drain()
    assert store.batches == [["a"]]


@in_virtual_time
async def test_after_an_outage_it_works_as_before() -> None:
    store = Store(*[unavailable] * 30, echo, seconds=0.1)
    batcher = Batcher(store.send, resend_for=PATIENCE)
    seen = [(await outcomes(batcher, "a"))[0] for _ in range(10)]
    assert isinstance(seen[0], StoreUnavailable)
    assert seen[-1] == "A"


# --- errors ------------------------------------------------------------------------------------------------------


def fails_on_bad(error: Exception) -> Answer:
    def answer(items: Sequence[str]) -> Sequence[str]:
        if "bad" in items:
            raise error
        return echo(items)

    return answer


@pytest.mark.parametrize("error", [ScriptFailed("broken"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate")])
@in_virtual_time
async def test_one_bad_item_fails_alone(error: Exception) -> None:
    store = Store(fails_on_bad(error))
    batcher = Batcher(store.send, resend_for=PATIENCE)
    assert await outcomes(batcher, "a", "bad", "c") == ["A", error, "C"]
    assert store.batches == [["a", "bad", "c"], ["a"], ["bad"], ["c"]]


@in_virtual_time
async def test_a_full_store_refuses_the_whole_batch_once() -> None:
    full = Full("no room")

    def refuse(_: Sequence[str]) -> Sequence[str]:
        raise full

    store = Store(refuse)
    assert await outcomes(Batcher(store.send, resend_for=PATIENCE), "a", "b") == [full, full]
    assert store.batches == [["a", "b"]]


@in_virtual_time
async def test_a_reply_of_the_wrong_length_leaves_nobody_waiting() -> None:
    batcher = Batcher(Store(lambda items: ["x"] * 2).send, resend_for=PATIENCE)
    results = await outcomes(batcher, "a", "b", "c")
    assert all(isinstance(result, ScriptFailed) for result in results)
    assert isinstance((await outcomes(batcher, "d"))[0], ScriptFailed)


# --- waiters that go away ----------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_waiter_that_goes_away_cancels_nothing() -> None:
    store = Store(unavailable, echo)
    batcher = Batcher(store.send, resend_for=PATIENCE)
    sent, other = batcher.submit("a"), batcher.submit("b")
    await asyncio.sleep(0.001)
    waiting = batcher.submit("c")
    sent.cancel()
    waiting.cancel()
    assert await other == "B"
    await batcher.drain()
    assert store.batches == [["a", "b"], ["a", "b"], ["c"]]


@in_virtual_time
async def test_an_error_that_nobody_awaits_is_no_warning() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    batcher = Batcher(Store(unavailable).send, resend_for=PATIENCE)
    batcher.submit("a")
    await batcher.drain()
    await asyncio.sleep(10)
    gc.collect()
    assert complaints == []


@in_virtual_time
async def test_no_timer_is_left_once_nothing_waits() -> None:
    batcher = Batcher(Store().send, resend_for=PATIENCE)
    await outcomes(batcher, "a", "b")
    await asyncio.sleep(10)
    assert batcher._alarm is None

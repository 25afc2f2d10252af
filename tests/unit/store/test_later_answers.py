"""Answers that come some passes after the reply, and the calls that go out first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from queuey.errors import ScriptFailed
from queuey.lifecycle import call_after_passes
from queuey.store.batching import Batcher
from queuey.store.taskless import Pending
from tests.support.virtual_time import in_virtual_time

PATIENCE = 1.5


class Store:
    """Keeps each batch until the test answers it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._replies: list[Pending] = []

    async def send(self, items: Sequence[str]) -> Sequence[str]:
        self.events.append("send " + "".join(items))
        self._replies.append(Pending(loop=asyncio.get_running_loop()))
        replies: Sequence[str] = await self._replies[-1]
        return replies

    def answer(self, reply: str) -> None:
        self._replies.pop(0).settle([*reply], None)


def tell(batcher: Batcher[str, str], store: Store, items: str) -> None:
    for item in items:
        batcher.tell(item, 1, lambda reply, error: store.events.append(f"answer {error or reply}"))


async def passes(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("count", [1, 2, 3])
@in_virtual_time
async def test_a_callback_comes_in_exactly_that_pass(count: int) -> None:
    called: list[str] = []
    call_after_passes(count, called.append, "called")
    await passes(count - 1)
    assert called == []
    await passes(1)
    assert called == ["called"]


@in_virtual_time
async def test_what_waits_when_a_cork_is_left_is_sent_before_what_follows() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE)
    with batcher.corked():
        tell(batcher, store, "ab")
        await passes(2)
        assert store.events == []
    store.events.append("follows")
    assert store.events == ["send ab", "follows"]


@in_virtual_time
async def test_items_are_answered_that_many_passes_after_the_reply() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE, answer_after=3)
    tell(batcher, store, "ab")
    await passes(1)
    store.answer("AB")
    await passes(2)
    assert store.events == ["send ab"]
    await passes(1)
    assert store.events == ["send ab", "answer A", "answer B"]


@in_virtual_time
async def test_what_waited_for_the_reply_is_sent_before_the_answers() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE, answer_after=3)
    tell(batcher, store, "a")
    await passes(1)
    tell(batcher, store, "b")
    store.answer("A")
    await passes(3)
    assert store.events == ["send a", "send b", "answer A"]
    drained = asyncio.ensure_future(batcher.drain())
    store.answer("B")
    await drained
    assert store.events[-1] == "answer B"


@in_virtual_time
async def test_drain_waits_for_every_late_answer() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE, max_batch=1, answer_after=5)
    tell(batcher, store, "ab")
    for item in "AB":  # the second reply comes before the first answer
        await passes(1)
        store.answer(item)
    await batcher.drain()
    assert store.events == ["send a", "send b", "answer A", "answer B"]


@in_virtual_time
async def test_a_reply_of_the_wrong_length_fails_each_item() -> None:
    store = Store()
    batcher = Batcher(store.send, resend_for=PATIENCE, answer_after=3)
    answers = [batcher.submit(item) for item in "ab"]
    await passes(1)
    store.answer("A")
    for single in "ab":  # one by one, so that only a bad item fails
        await asyncio.sleep(0.001)
        assert store.events[-1] == f"send {single}"
        store.answer("XY" if single == "a" else "B")
    await batcher.drain()
    assert isinstance(answers[0].exception(), ScriptFailed)
    assert answers[1].result() == "B"

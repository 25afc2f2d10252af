"""What asks the store again: Deadline for one request, and the Batcher's timer for what waits in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from queuey.errors import OutcomeUnknown, StoreUnavailable
from queuey.store import batching
from queuey.store import deadline as patience
from queuey.store.batching import Batcher
from queuey.store.deadline import Deadline, outcome, unanswered
from tests.support.virtual_time import block, in_virtual_time

SHORT = 0.05


@pytest.fixture(autouse=True)
def overdue_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (batching, patience):
        monkeypatch.setattr(module, "OVERDUE", SHORT)


async def test_a_call_is_sent_again_until_it_is_answered() -> None:
    replies: list[Exception | str] = [StoreUnavailable("a", maybe_done=True), StoreUnavailable("b"), "done"]

    async def send() -> str:
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    assert await Deadline(5).call(send) == "done"
    assert replies == []


async def test_each_resend_has_the_arguments_of_the_call() -> None:
    given: list[tuple[int, str]] = []

    async def send(shard: int, *, queue: str) -> str:
        given.append((shard, queue))
        if len(given) == 1:
            raise StoreUnavailable("no reply")
        return queue

    assert await Deadline(5).call(send, 2, queue="mail") == "mail"
    assert given == [(2, "mail")] * 2


async def test_a_shard_that_did_not_answer_is_named_also_by_the_last_call() -> None:
    async def send() -> None:
        if not sent:
            sent.append(1)
            raise StoreUnavailable("Shard 1 of the store: redis://user@host cannot be reached.", shard=1)
        await asyncio.get_running_loop().create_future()

    sent: list[int] = []
    with pytest.raises(StoreUnavailable) as caught:
        await Deadline(SHORT).call(send)
    assert (caught.value.shard, caught.value.maybe_done) == (1, True)
    assert unanswered(caught.value) == "Shard 1 of the store did not answer in time."
    error = StoreUnavailable("The store cannot be reached: redis://user@host.", maybe_done=True)
    assert str(outcome(error, [])) == "The store did not answer in time. It may have been done."


async def test_what_was_perhaps_done_once_stays_so() -> None:
    errors = [StoreUnavailable("sent", maybe_done=True)]

    async def send() -> str:
        raise errors.pop() if errors else StoreUnavailable("refused")

    with pytest.raises(StoreUnavailable) as caught:
        await Deadline(SHORT).call(send)
    assert caught.value.maybe_done
    unknown = outcome(caught.value, ["x"])
    assert isinstance(unknown, OutcomeUnknown)
    assert unknown.job_ids == ("x",)


async def test_what_was_never_sent_was_not_done() -> None:
    async def send() -> str:
        raise StoreUnavailable("refused")

    with pytest.raises(StoreUnavailable) as caught:
        await Deadline(SHORT).call(send)
    assert outcome(caught.value, ["x"]) is caught.value


@in_virtual_time
async def test_a_reply_that_does_not_come_is_given_up() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await Deadline(1.5).call(asyncio.Event().wait)
    assert caught.value.maybe_done
    assert asyncio.get_running_loop().time() == pytest.approx(1.5 + SHORT)


@in_virtual_time
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.7, 1.4])
async def test_a_store_that_answers_no_resend_keeps_nobody_longer(seconds: float) -> None:
    async def send() -> str:
        await asyncio.sleep(seconds)
        raise StoreUnavailable("no reply", maybe_done=True)

    with pytest.raises(StoreUnavailable):
        await Deadline(1.5).call(send)
    assert 1.5 <= asyncio.get_running_loop().time() <= 1.5 + SHORT


async def test_a_batcher_gives_up_all_that_is_overdue_while_a_reply_is_outstanding() -> None:
    sending = asyncio.Event()
    never = asyncio.Event()

    async def send(items: Sequence[str]) -> Sequence[str]:
        sending.set()
        await never.wait()
        return items

    batcher: Batcher[str, str] = Batcher(send, resend_for=SHORT)
    sent = batcher.submit("sent")
    await sending.wait()
    waiting = batcher.submit("waiting")
    await asyncio.wait([sent, waiting])
    assert isinstance(sent.exception(), OutcomeUnknown)
    assert isinstance(waiting.exception(), StoreUnavailable)
    never.set()
    await batcher.drain()


async def test_a_batcher_does_not_send_again_what_it_gave_up() -> None:
    calls: list[list[str]] = []
    proceed = asyncio.Event()

    async def send(items: Sequence[str]) -> Sequence[str]:
        calls.append(list(items))
        await proceed.wait()
        raise StoreUnavailable("gone", maybe_done=True)

    batcher: Batcher[str, str] = Batcher(send, resend_for=SHORT)
    (done, _) = await asyncio.wait([batcher.submit("a")])
    assert isinstance(done.pop().exception(), OutcomeUnknown)
    proceed.set()
    await batcher.drain()
    assert calls == [["a"]]


async def test_a_batcher_gives_up_again_and_again() -> None:
    async def send(items: Sequence[str]) -> Sequence[str]:
        await proceed.wait()
        return items

    batcher: Batcher[str, str] = Batcher(send, resend_for=SHORT)
    for _ in range(2):
        proceed = asyncio.Event()
        (given_up, _) = await asyncio.wait([batcher.submit("a")])
        assert isinstance(given_up.pop().exception(), OutcomeUnknown)
        proceed.set()
        await batcher.drain()
    assert await batcher.submit("b") == "b"


# --- a handler blocks the event loop: the reply lies in the socket, and the store is not to blame ------------------


@in_virtual_time
async def test_a_request_gets_the_reply_that_came_while_the_loop_was_blocked() -> None:
    loop = asyncio.get_running_loop()
    reply: asyncio.Future[str] = loop.create_future()

    async def send() -> str:
        loop.call_soon(block, 60)
        loop.call_soon(loop.call_soon, loop.call_soon, reply.set_result, "done")  # read after the timers
        return await reply

    assert await Deadline(1.5).call(send) == "done"


@in_virtual_time
async def test_a_batcher_answers_what_the_store_answered_while_the_loop_was_blocked() -> None:
    loop = asyncio.get_running_loop()

    async def send(items: Sequence[str]) -> Sequence[str]:
        reply: asyncio.Future[Sequence[str]] = loop.create_future()
        loop.call_soon(block, 60)
        loop.call_soon(loop.call_soon, loop.call_soon, reply.set_result, items)
        return await reply

    batcher: Batcher[str, str] = Batcher(send, resend_for=1.5)
    sent = batcher.submit("sent")
    assert await sent == "sent"


@in_virtual_time
async def test_a_batcher_still_sends_what_the_block_kept_back() -> None:
    async def send(items: Sequence[str]) -> Sequence[str]:
        await asyncio.sleep(0.01)
        return items

    batcher: Batcher[str, str] = Batcher(send, resend_for=1.5)
    waiting = batcher.submit("waiting")
    block(60)
    assert await waiting == "waiting"

"""Coroutines without a task: what runs in plain callbacks, and what moves to a task."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from queuey.errors import StoreUnavailable
from queuey.store.batching import Batcher
from queuey.store.connections.pipelined import connect
from queuey.store.taskless import Pending, Taskless
from tests.support.connections.scripted_store import scripted_store


def new_reply() -> Pending:
    return Pending(loop=asyncio.get_running_loop())


def start(coroutine: Coroutine[Any, Any, None]) -> Taskless:
    return Taskless(asyncio.get_running_loop(), coroutine)


def count_tasks() -> list[str]:
    """The names of the coroutines for which a task is made from now on."""
    made: list[str] = []

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(make)
    return made


async def in_a_callback(do: Callable[[], object]) -> None:
    """Run it as the reading of a reply does, in no task."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: done.set_result(do()))
    await done


async def test_what_waits_for_replies_runs_where_they_are_settled() -> None:
    tasks, seen = count_tasks(), list[object]()
    replies = [new_reply(), new_reply()]

    async def work() -> None:
        for reply in replies:
            seen.append((await reply, asyncio.current_task()))

    await in_a_callback(lambda: start(work()))
    assert seen == []

    def settle(reply: Pending, text: str) -> None:
        reply.settle(text, None)
        seen.append("settled")

    await in_a_callback(lambda: settle(replies[0], "one"))
    await in_a_callback(lambda: settle(replies[1], "two"))
    assert seen == [("one", None), "settled", ("two", None), "settled"]
    assert tasks == []


async def test_a_reply_that_is_there_already_is_not_waited_for() -> None:
    seen: list[object] = []
    reply = new_reply()
    reply.settle("there", None)

    async def work() -> None:
        seen.append(await reply)

    start(work())
    assert seen == ["there"]


async def test_after_an_error_the_rest_runs_in_a_task() -> None:
    """It may load the scripts again, for which redis-py needs a task."""
    tasks, reply, ended = count_tasks(), new_reply(), asyncio.Event()

    async def work() -> None:
        with pytest.raises(ValueError, match="of the test"):
            await reply
        async with asyncio.timeout(10):  # raises RuntimeError outside a task
            await asyncio.sleep(0)
        ended.set()

    await in_a_callback(lambda: start(work()))
    assert tasks == []
    await in_a_callback(lambda: reply.settle(None, ValueError("of the test")))
    await asyncio.wait_for(ended.wait(), 10)
    assert len([name for name in tasks if name.endswith("work")]) == 1


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(0), lambda: asyncio.sleep(0.001)], ids=["a pass", "a timer"])
async def test_what_waits_for_anything_else_goes_on_in_a_task(wait: Callable[[], Coroutine[Any, Any, None]]) -> None:
    ended = asyncio.Event()
    seen: list[asyncio.Task[Any] | None] = []

    async def work() -> None:
        await wait()
        seen.append(asyncio.current_task())
        ended.set()

    await in_a_callback(lambda: start(work()))
    await asyncio.wait_for(ended.wait(), 10)
    assert seen[0] is not None


async def test_a_reply_is_settled_once() -> None:
    reply = new_reply()
    reply.settle("first", None)
    reply.settle(None, ValueError("second"))
    assert await reply == "first"


async def test_an_ordinary_flush_makes_no_task_and_answers_before_the_read_is_over() -> None:
    async with scripted_store(lambda command: b"+%s\r\n" % command[1]) as store:
        link = connect(store.url, timeout=10.0).link
        await link.call("ECHO", "warm")
        session = link._session
        assert session is not None

        async def send(items: Sequence[str]) -> Sequence[str]:
            return [(await link.call("ECHO", ",".join(items))).decode()]

        batcher: Batcher[str, str] = Batcher(send, resend_for=10.0)
        tasks, answered, reads = count_tasks(), list[str](), list[int]()
        data_received = session.data_received

        def note(data: bytes) -> None:
            data_received(data)
            reads.append(len(answered))

        session.data_received = note  # type: ignore[method-assign]
        session._transport.set_protocol(session)  # so that the transport looks the method up again
        batcher.tell("a", 1, lambda reply, error: answered.append(str(reply)))
        await batcher.drain()
        assert answered == ["a"]
        assert reads == [1], "it was answered in the pass in which the reply was read"
        assert tasks == []
        await link.close()


async def test_after_a_failed_flush_the_items_are_sent_again_and_the_next_flush_needs_no_task() -> None:
    failures = [StoreUnavailable("refused")]
    tasks = count_tasks()

    async def send(items: Sequence[str]) -> Sequence[str]:
        reply = new_reply()
        error = failures.pop() if failures else None
        asyncio.get_running_loop().call_soon(reply.settle, items, error)
        return list(await reply)

    batcher: Batcher[str, str] = Batcher(send, resend_for=10.0)
    assert await batcher.submit("a") == "a"
    await batcher.drain()
    assert tasks == ["Batcher._flush_next"]
    assert await batcher.submit("b") == "b"
    assert tasks == ["Batcher._flush_next"]


async def test_what_comes_in_the_pass_in_which_a_reply_is_read_goes_with_the_next_flush() -> None:
    """Else a busy store gets smaller batches, and more of them."""
    batches: list[list[str]] = []
    replies: list[Pending] = []

    async def send(items: Sequence[str]) -> Sequence[str]:
        batches.append(list(items))
        replies.append(new_reply())
        return list(await replies[-1])

    batcher: Batcher[str, str] = Batcher(send, resend_for=10.0)
    futures = [batcher.submit("a")]
    await asyncio.sleep(0)  # it is sent
    futures.append(batcher.submit("b"))

    def read_and_submit() -> None:
        replies[0].settle(["a"], None)
        futures.append(batcher.submit("c"))

    await in_a_callback(read_and_submit)
    await asyncio.sleep(0)
    replies[1].settle(["b", "c"], None)
    assert await asyncio.gather(*futures) == ["a", "b", "c"]
    assert batches == [["a"], ["b", "c"]]


def test_a_process_that_ends_during_a_flush_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", faults.append)

    async def send(items: Sequence[str]) -> Sequence[str]:
        return list(await new_reply())

    async def end() -> None:
        batcher: Batcher[str, str] = Batcher(send, resend_for=10.0)
        batcher.submit("a")
        await asyncio.sleep(0)  # it is sent
        batcher.submit("b")

    asyncio.run(end())
    gc.collect()
    assert faults == []

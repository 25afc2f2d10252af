"""Handlers that put jobs for themselves into queues."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import sys
from typing import Any

import msgspec
import pytest

from queuey import App, Context
from queuey.client import Client, SyncClient
from queuey.protocol.models import EnqueueReply, JobRequest

app = App()


class Reverse(msgspec.Struct):
    text: str


@app.job("reverse", queue="texts", max_attempts=3)
async def reverse(job: Reverse, ctx: Context) -> str:
    return job.text[::-1]


@app.job("shout")
def shout(job: str) -> str:
    return job.upper()


class Taker:
    def __init__(self) -> None:
        self.requests: list[JobRequest] = []

    async def send(self, request: JobRequest) -> EnqueueReply:
        self.requests.append(request)
        return EnqueueReply(str(request.id), deduplicated=False)


@pytest.fixture
def taker() -> Any:
    app.sender = taker = Taker()
    yield taker
    app.sender = None


async def test_it_goes_to_the_worker_that_runs_here(taker: Taker) -> None:
    reply = await reverse.enqueue(Reverse("hello"), priority="high", dedupe_key="k")
    (request,) = taker.requests
    assert (request.id, request.type, request.queue) == (reply.job_id, "reverse", "texts")
    assert (bytes(request.payload), request.max_attempts, request.priority) == (b'{"text":"hello"}', 3, "high")


async def test_what_is_said_of_the_job_wins_over_its_handler(taker: Taker) -> None:
    await reverse.enqueue(Reverse("hello"), queue="others", max_attempts=1)
    assert (taker.requests[0].queue, taker.requests[0].max_attempts) == ("others", 1)


def test_without_a_worker_a_client_must_be_named() -> None:
    with pytest.raises(RuntimeError, match=r"reverse: .* Pass a client"):
        _ = reverse.enqueue(Reverse("hello"))


async def test_a_handler_in_a_thread_is_told_that_it_enqueues_nothing(taker: Taker) -> None:
    with pytest.raises(RuntimeError, match=r"reverse: .* no job was enqueued\. .* SyncClient"):
        _ = await asyncio.to_thread(reverse.enqueue, Reverse("hello"))
    assert taker.requests == []


async def test_or_to_the_client_that_is_named(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Taker()
    async with Client() as client:
        monkeypatch.setattr(client, "send", other.send)
        await reverse.enqueue(Reverse("hello"), client=client)
    with SyncClient() as sync:
        monkeypatch.setattr(sync, "send", lambda request: EnqueueReply(request.type, deduplicated=True))
        assert shout.enqueue("hello", client=sync) == EnqueueReply("shout", deduplicated=True)
    assert (len(other.requests), len(taker.requests)) == (1, 0)


async def test_it_is_called_as_before() -> None:
    assert shout("hello") == "HELLO"
    assert await reverse(Reverse("abc"), None) == "cba"  # type: ignore[arg-type]
    assert inspect.signature(reverse) == inspect.signature(reverse.function)
    assert reverse.__doc__ == reverse.function.__doc__
    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(reverse)
    assert not inspect.iscoroutinefunction(shout)


def test_it_is_pickled_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, reverse.__module__, sys.modules[__name__])
    assert pickle.loads(pickle.dumps(reverse)) is reverse


def test_one_function_may_be_the_handler_of_two_types() -> None:
    other = App()
    again = other.job("again", queue="q")(reverse)
    assert (again.request(Reverse("x")).type, reverse.request(Reverse("x")).type) == ("again", "reverse")
    assert other.handlers["again"].function is reverse.function

"""A pull worker's checkpoints: one at a time for each lease, numbered, and each caller gets an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from queuey.client import Client
from queuey.worker.handlers.attempt import Keeping, Work
from queuey.worker.remote.reports import Checkpoints


class Held:
    """A server that answers each request when the test says so: `ok` unless told otherwise."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[tuple[list[dict[str, Any]], asyncio.Future[httpx.Response]]] = asyncio.Queue()
        self.seen: list[tuple[str, Any, int]] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        jobs = msgspec.json.decode(request.content)["jobs"]
        self.seen += [(job["id"], job["checkpoint"], job["number"]) for job in jobs]
        answer: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        await self.requests.put((jobs, answer))
        return await answer

    async def answers(self, response: httpx.Response | None = None) -> None:
        """Answer the next request."""
        jobs, answer = await self.requests.get()
        results = [{"id": job["id"], "status": "ok"} for job in jobs]
        answer.set_result(response or httpx.Response(200, json={"results": results}))


@asynccontextmanager
async def keeping(server: Held) -> AsyncIterator[Checkpoints]:
    async with Client("http://q.test", retries=0, transport=httpx.MockTransport(server)) as client:
        checkpoints = Checkpoints(client)
        yield checkpoints
        await checkpoints.close()


def work_of(job_id: str = "c1", token: str = "1.a") -> Work:
    return Work(job_id, "t", "default", "1", token, 1, 5)


async def of(kept: Keeping) -> str:
    """Return what comes of a checkpoint: the reason why it was not kept, '' if it was."""
    return str(await asyncio.to_thread(kept.exception, 10) or "")


async def test_a_new_one_takes_the_place_of_those_that_wait() -> None:
    server, work = Held(), work_of()
    async with keeping(server) as checkpoints:
        first = checkpoints.keep(work, "1")
        jobs, answer = await server.requests.get()
        others = [checkpoints.keep(work, text) for text in ("2", "3", "")]
        await asyncio.sleep(0)
        assert work.checkpoint == ""
        answer.set_result(httpx.Response(200, json={"results": [{"id": jobs[0]["id"], "status": "ok"}]}))
        assert (await of(first), work.checkpoint) == ("", "1")
        assert not any(each.done() for each in others)
        await server.answers()
        assert [await of(each) for each in others] == [""] * 3
        assert work.checkpoint == ""
    assert server.seen == [("c1", 1, 1), ("c1", None, 2)]


async def test_what_a_refused_one_replaced_is_not_kept_either() -> None:
    server, work = Held(), work_of()
    problem = {"type": "urn:queuey:problem:malformed", "title": "", "status": 400, "detail": "Too deep."}
    async with keeping(server) as checkpoints:
        first = checkpoints.keep(work, "1")
        await server.answers()
        assert await of(first) == ""
        kept = [checkpoints.keep(work, text) for text in ("2", "[[3]]")]
        await server.answers(httpx.Response(400, json=problem))
        assert [await of(each) for each in kept] == ["the checkpoint was not kept: Too deep."] * 2
        assert work.checkpoint == "1"
        again = checkpoints.keep(work, "4")
        await server.answers()
        assert (await of(again), work.checkpoint) == ("", "4")
    assert server.seen == [("c1", 1, 1), ("c1", [[3]], 2), ("c1", 4, 3)]


async def test_leases_do_not_wait_for_each_other() -> None:
    """Each counts by itself, the next lease of a job too."""
    server = Held()
    async with keeping(server) as checkpoints:
        works = [work_of(), work_of("c2"), work_of(token="2.b")]
        kept = [checkpoints.keep(work, "7") for work in works]
        for _ in works:
            await server.answers()
        assert [await of(each) for each in kept] == [""] * 3
    assert sorted(server.seen) == [("c1", 7, 1), ("c1", 7, 1), ("c2", 7, 1)]


@pytest.mark.parametrize("is_sent", [False, True])
async def test_each_caller_gets_an_answer_when_the_worker_ends(is_sent: bool) -> None:
    server, work = Held(), work_of()
    async with keeping(server) as checkpoints:
        kept = [checkpoints.keep(work, text) for text in ("1", "2", "3")]
        if is_sent:
            await server.requests.get()
        else:
            await asyncio.sleep(0)  # its task is made, and has not begun
        await checkpoints.close()
        kept.append(checkpoints.keep(work, "4"))
        await asyncio.sleep(0)
        assert all(each.done() for each in kept)
    assert [await of(each) for each in kept] == ["the checkpoint was not kept: the worker has ended"] * 4
    assert len(server.seen) == is_sent

"""`queuey work` leases no more than can begin. The server is a function; an older one knows no types and no room."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
from structlog.testing import capture_logs

from queuey.client import Client
from queuey.lifecycle import end_tasks
from queuey.metrics import Metrics
from queuey.settings.settings import Settings
from queuey.worker.execution import MAX_ISOLATED
from queuey.worker.handlers.app import App
from queuey.worker.remote.http_source import HttpSource
from queuey.worker.settings import WorkerSettings
from queuey.worker.worker import Worker
from tests.support.executions import executing
from tests.support.gate import Gate
from tests.support.working import PATIENCE, Stage, ThreadStage
from tests.unit.worker import isolated_app

SETTINGS = WorkerSettings.of(Settings(concurrency=10, grace=7.0), "w", ["default"])


class Server:
    """Answers each request for jobs when the test says so. `refuses`: it is of an older release."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.asked: list[dict[str, Any]] = []
        """The bodies of the requests for jobs."""
        self.cancelled = 0
        """The requests that the worker has broken off."""
        self._came: asyncio.Queue[asyncio.Future[list[dict[str, Any]]]] = asyncio.Queue()
        self._numbers = iter(range(1000))

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        body = msgspec.json.decode(request.content)
        if not request.url.path.endswith("/leases"):
            return httpx.Response(200, json={"results": [{"id": job["id"], "status": "ok"} for job in body["jobs"]]})
        self.asked.append(body)
        if self.refuses and "types" in body:
            fault = {"pointer": "/types", "detail": "is unknown."}
            problem = {
                "type": "urn:queuey:problem:invalid",
                "title": "",
                "status": 422,
                "detail": "Unknown field 'types'.",
            }
            return httpx.Response(422, json=problem | {"errors": [fault]})
        answer: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()
        self._came.put_nowait(answer)
        try:
            return httpx.Response(200, json={"jobs": await answer})
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def give(self, *types: str, crashes: int = 0, payload: Any = None) -> dict[str, Any]:
        """Wait for a request that is not answered or broken off, and answer it. Returns its body."""
        async with asyncio.timeout(PATIENCE):
            while (answer := await self._came.get()).done():
                pass
        body = self.asked[-1]
        answer.set_result([self._job(type) | {"crashes": crashes, "payload": payload} for type in types])
        return body

    async def until_asked(self, times: int) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while len(self.asked) < times:  # noqa: ASYNC110 - a request is no event of the worker's
                await asyncio.sleep(0.001)
        return self.asked[-1]

    def _job(self, type: str) -> dict[str, Any]:
        job_id = f"00{next(self._numbers):026}"
        return {
            "id": job_id, "type": type, "token": "1.a", "payload": None, "attempt": 1,
            "lease_expires_at": "2030-01-01T00:00:00Z",
        }  # fmt: skip


@asynccontextmanager
async def working(server: Server, app: App, path: str | None = None, **slots: Any) -> AsyncIterator[Worker]:
    async with (
        executing(app, path, grace=SETTINGS.grace, **slots) as execution,
        Client("http://q.test", retries=0, transport=httpx.MockTransport(server)) as client,
    ):
        source = HttpSource(client, SETTINGS, execution.wanted_wait)
        worker = Worker(source, execution, SETTINGS, metrics=Metrics())
        task = asyncio.create_task(source.while_reporting(worker.run()))
        yield worker
        await end_tasks([task])
        await worker.drain(PATIENCE)
        await source.close()


async def test_a_request_names_the_types_and_the_room_of_the_executors_that_have_less() -> None:
    server, stage = Server(), Stage()
    threads = ThreadStage("thread", "other", app=stage.app)
    async with working(server, stage.app, thread_slots=2):
        first = await server.give("thread", "held")
        assert (first["max"], first["types"]) == (10, ["held", "thread", "other"])
        assert first["room"] == [{"jobs": 2, "types": ["thread", "other"]}]
        job = await stage.next()
        second = await server.until_asked(2)
        assert (second["max"], second["room"]) == (8, [{"jobs": 1, "types": ["thread", "other"]}])
        stage.finish(job)
        await threads.next()
        threads.finish_all()


async def test_an_app_of_one_kind_asks_for_what_can_begin() -> None:
    server, threads = Server(), ThreadStage()
    async with working(server, threads.app, thread_slots=2):
        first = await server.give("thread", "thread")
        assert (first["max"], first["types"], "room" in first) == (2, ["thread"], False)
        await threads.take(2)
        assert len(server.asked) == 1, "no thread is free"
        threads.finish_all()
        assert (await server.until_asked(2))["max"] in (1, 2)


async def test_a_request_is_broken_off_when_a_thread_is_free_again_and_repeated_with_its_claim_id() -> None:
    server, stage = Server(), Stage()
    threads = ThreadStage(app=stage.app)
    async with working(server, stage.app, thread_slots=1):
        await server.give("thread")
        job = await threads.next()
        waiting = await server.until_asked(2)
        assert waiting["room"] == [{"jobs": 0, "types": ["thread"]}]
        threads.finish(job)
        again = await server.until_asked(3)
        assert again["room"] == [{"jobs": 1, "types": ["thread"]}]
        assert again["claim_id"] == waiting["claim_id"]
        assert server.cancelled == 1
        assert await server.give("thread") == again
        threads.finish(await threads.next())
        assert (await server.until_asked(4))["claim_id"] != again["claim_id"]


async def test_an_older_server_is_asked_only_for_what_fits_in_any_executor() -> None:
    server, stage = Server(refuses=True), Stage()
    threads = ThreadStage(app=stage.app)
    with capture_logs() as logs:
        async with working(server, stage.app, thread_slots=1):
            first = await server.give("thread")
            assert (first["max"], "types" in first, "room" in first) == (1, False, False)
            job = await threads.next()
            assert len(server.asked) == 2, "nothing is asked for while a job of some type could not begin"
            threads.finish(job)
            await server.give("held")
            stage.finish(await stage.next())
            await server.until_asked(4)
    told = [log for log in logs if log["event"] == "server_ignores_types"]
    assert [(log["log_level"], log["reason"]) for log in told] == [("warning", "Unknown field 'types'.")]


async def test_a_request_says_how_many_suspects_can_have_a_child_process() -> None:
    server = Server()
    async with working(server, isolated_app.app, isolated_app.PATH), Gate() as gate:
        assert (await server.give("loop", crashes=2, payload=gate.path))["isolates"] == MAX_ISOLATED
        visitor = await gate.visitor()
        assert visitor.pid != os.getpid(), "it runs in a child process"
        assert (await server.until_asked(2))["isolates"] == MAX_ISOLATED - 1
        visitor.let_go("")


async def test_an_app_without_a_path_isolates_none() -> None:
    server = Server()
    async with working(server, Stage().app):
        assert "isolates" not in await server.give()


async def test_an_app_with_too_many_types_names_none() -> None:
    server = Server()
    app = App()

    for number in range(1_001):

        @app.job(f"t{number}")
        async def handler(payload: None) -> None:
            return None

    async with working(server, app):
        body = await server.give()
        assert (body["max"], "types" in body, "room" in body) == (10, False, False)

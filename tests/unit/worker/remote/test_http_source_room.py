"""`queuey work` leases no more than can begin. The server is a function; an older one knows no types and no room."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from queuey.client import Client
from queuey.lifecycle import end_tasks
from queuey.metrics import Metrics
from queuey.services.leases.requests import LeaseRequests
from queuey.settings.settings import Settings
from queuey.worker.execution import MAX_ISOLATED
from queuey.worker.handlers.app import App
from queuey.worker.remote.http_source import AppReport, HttpSource
from queuey.worker.settings import WorkerSettings
from queuey.worker.worker import Worker
from tests.support import handlers
from tests.support.executions import executing
from tests.support.gate import Gate
from tests.support.working import PATIENCE, Stage, ThreadStage, eventually
from tests.unit.worker import isolated_app

SETTINGS = WorkerSettings.of(Settings(concurrency=10, grace=7.0), "w", ["default"])
NEW_FIELDS = ("types", "room", "app", "type_queues", "isolates")


class Server:
    """Answers each request for jobs when the test says so. `refuses`: the fields that an older release refuses."""

    def __init__(self, *refuses: str) -> None:
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
        if not self.refuses:
            LeaseRequests(depth=64, result_limit=1024).lease(request.content)
        if unknown := next((name for name in body if name in self.refuses), None):
            fault = {"pointer": f"/{unknown}", "detail": "is unknown."}
            problem = {
                "type": "urn:queuey:problem:invalid",
                "title": "",
                "status": 422,
                "detail": f"Unknown field '{unknown}'.",
            }
            return httpx.Response(422, json=problem | {"errors": [fault]})
        answer: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()
        self._came.put_nowait(answer)
        try:
            return httpx.Response(200, json={"jobs": await answer})
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def give(self, *types: str, **fields: Any) -> dict[str, Any]:
        """Wait for a request that is not answered or broken off, and answer it. Returns its body."""
        async with asyncio.timeout(PATIENCE):
            while (answer := await self._came.get()).done():
                pass
        body = self.asked[-1]
        answer.set_result([self._job(type) | fields for type in types])
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
async def working(
    server: Server, app: App, path: str | None = None, *, settings: WorkerSettings = SETTINGS, **slots: Any
) -> AsyncIterator[Worker]:
    async with (
        executing(app, path, grace=settings.grace, **slots) as execution,
        Client("http://q.test", retries=0, transport=httpx.MockTransport(server)) as client,
    ):
        report = AppReport.of(app, settings.queues)
        source = HttpSource(client, settings, execution.wanted_wait, report)
        worker = Worker(source, execution, settings, metrics=Metrics())
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


async def test_the_rooms_of_two_executors_may_add_up_to_more_than_the_free_slots() -> None:
    server = Server()
    settings = WorkerSettings.of(Settings(concurrency=3, grace=7.0), "w", ["default"])
    async with working(
        server, handlers.app, handlers.PATH, settings=settings, thread_slots=2, process_slots=2
    ) as worker:
        body = await server.give()
        assert (body["max"], sorted(entry["jobs"] for entry in body["room"])) == (3, [2, 2])
        assert not worker._source.ignores_room, "the server accepts it"


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
    server, stage = Server(*NEW_FIELDS), Stage()
    threads = ThreadStage(app=stage.app)
    with capture_logs() as logs:
        async with working(server, stage.app, thread_slots=1):
            first = await server.give("thread")
            assert first["max"] == 1
            assert not {*NEW_FIELDS} & {*first}
            job = await threads.next()
            assert len(server.asked) == 2, "nothing is asked for while a job of some type could not begin"
            threads.finish(job)
            await server.give("held")
            stage.finish(await stage.next())
            await server.until_asked(4)
    told = [log for log in logs if log["event"] == "server_ignores_types"]
    assert [(log["log_level"], log["reason"]) for log in told] == [("warning", "Unknown field 'types'.")]


async def test_a_server_that_knows_types_only_gets_no_report_of_the_app() -> None:
    server, stage = Server("app", "type_queues"), Stage()
    stage.app.name = "shop"
    with capture_logs() as logs:
        async with working(server, stage.app):
            body = await server.give()
            assert (body["types"], "app" in body) == (["held"], False)
            assert server.asked[0]["app"] == "shop"
    said = [(log["event"], log["reason"]) for log in logs if log["event"].startswith("server_ignores")]
    assert said == [("server_ignores_app", "Unknown field 'app'.")]


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        (["default", "mail"], {"default": ["echo"], "mail": ["send", "copy"]}),
        (["mail"], {"mail": ["send", "copy"]}),
        (["urgent"], {}),
        (["default"], {"default": ["echo"]}),
    ],
)
def test_a_report_names_the_queues_of_the_handlers_that_the_worker_serves(
    queues: list[str], said: dict[str, list[str]]
) -> None:
    app = App(name="post")
    for name, queue in (("echo", "default"), ("send", "mail"), ("copy", "mail")):
        app.job(name, queue=queue)(nothing)
    assert AppReport.of(app, queues) == AppReport("post", said)


def test_a_report_says_no_more_than_the_server_knows_or_takes() -> None:
    app = App()
    app.job("send", queue="mail")(nothing)
    assert AppReport.of(app, ["mail"]) == AppReport(None, None)
    app.name = "_private"
    assert AppReport.of(app, ["mail"]).name is None


async def nothing(payload: None) -> None:
    """Do nothing."""


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
    app = App(name="wide")

    for number in range(1_001):

        @app.job(f"t{number}")
        async def handler(payload: None) -> None:
            return None

    async with working(server, app):
        body = await server.give()
        assert (body["max"], "types" in body, "room" in body, body["app"]) == (10, False, False, "wide")


async def test_a_type_with_a_limit_is_asked_for_up_to_it() -> None:
    """A request that could not ask for it is broken off once one of its jobs can begin."""
    app, server, ends = App(), Server(), [asyncio.Event() for _ in range(3)]

    @app.job("few", concurrency=2)
    async def few(number: int) -> None:
        await ends[number].wait()

    @app.job("many")
    async def many(number: int) -> None: ...

    async with working(server, app):
        asked = await server.give("few", payload=0)
        assert (asked["room"], asked["types"]) == ([{"jobs": 2, "types": ["few"]}], ["many", "few"])
        assert (await server.give("few", payload=1))["room"] == [{"jobs": 1, "types": ["few"]}]
        await server.until_asked(3)
        assert server.asked[-1]["room"] == [{"jobs": 0, "types": ["few"]}]
        ends[0].set()
        await server.until_asked(4)
        assert (server.asked[-1]["room"], server.cancelled) == ([{"jobs": 1, "types": ["few"]}], 1)
        ends[1].set()


async def test_a_full_queue_is_left_out_until_one_of_its_jobs_has_ended() -> None:
    """A request asks for no more jobs than each of its queues has room for. It ends when another has room again."""
    app, server, ends = App(), Server(), [asyncio.Event() for _ in range(2)]
    settings = Settings(concurrency=10, grace=7.0, queues=("images:2", "mail"))
    limited = WorkerSettings.of(settings, "w", settings.queue_names or ())

    @app.job("images", queue="images")
    async def images(number: int) -> None:
        await ends[number].wait()

    @app.job("mail", queue="mail")
    async def mail(number: int) -> None: ...

    async with working(server, app, settings=limited):
        asked = await server.give("images", payload=0, queue="images")
        assert (asked["queues"], asked["max"]) == (["images", "mail"], 2)
        assert (await server.give("images", payload=1, queue="images"))["max"] == 1
        asked = await server.until_asked(3)
        assert (asked["queues"], asked["max"], asked["type_queues"]) == (["mail"], 8, {"mail": ["mail"]})
        ends[0].set()
        asked = await server.until_asked(4)
        assert (asked["queues"], asked["max"], server.cancelled) == (["images", "mail"], 1, 1)
        assert asked["type_queues"] == {"images": ["images"], "mail": ["mail"]}
        ends[1].set()


async def test_a_thread_that_does_not_return_keeps_its_place_in_its_queue() -> None:
    server, threads = Server(), ThreadStage("images", "mail")
    settings = Settings(concurrency=10, grace=0.01, queues=("images:1", "mail"))
    limited = WorkerSettings.of(settings, "w", settings.queue_names or ())
    async with working(server, threads.app, settings=limited) as worker:
        await server.give("images", queue="images", timeout=0.01)
        stuck = await threads.next()
        await eventually(lambda: has_stuck(worker))
        assert [asked["queues"] for asked in server.asked] == [["images", "mail"], ["mail"]]
        threads.finish(stuck)
        assert (await server.until_asked(3))["queues"] == ["images", "mail"]
        assert server.cancelled == 1


async def has_stuck(worker: Worker) -> bool:
    return bool(worker._execution.stuck_threads()) and not worker.running

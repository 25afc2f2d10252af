"""The lines of a pull worker's handlers, sent to a server that is a function."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
from structlog.testing import capture_logs

from queuey.client import Client
from queuey.worker.handlers.attempt import Work
from queuey.worker.handlers.context import Context
from queuey.worker.remote.log_reports import LogReports
from tests.support.executions import make_work
from tests.support.virtual_time import in_virtual_time


class Server:
    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.got: list[Any] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/leases/log"
        jobs = msgspec.json.decode(request.content)["jobs"]
        self.got.append(jobs)
        if self.status != 200:
            problem = {"type": "urn:queuey:problem:x", "title": "", "status": self.status, "detail": "No."}
            return httpx.Response(self.status, json=problem)
        return httpx.Response(200, json={"results": [{"id": job["id"], "status": "ok"} for job in jobs]})


def client_of(server: Server) -> Client:
    return Client("http://server", retry_for=0, transport=httpx.MockTransport(server))


def logging(logs: LogReports, *texts: str) -> Work:
    work = make_work("t", attempt=2)
    work.report = logs.record  # type: ignore[assignment]
    for text in texts:
        Context[Any](work, None).log.warning(text)
    return work


@in_virtual_time
async def test_all_lines_of_an_attempt_are_sent_together() -> None:
    server = Server()
    async with client_of(server) as client:
        logs = LogReports(client)
        work = logging(logs, *map(str, range(200)))
        await asyncio.sleep(5)
    ((job,),) = server.got
    assert (job["id"], job["token"], job["attempt"]) == (work.id, work.token, 2)
    assert [line["text"] for line in job["lines"]] == [str(number) for number in range(100, 200)]
    assert {line["level"] for line in job["lines"]} == {"warning"}


@in_virtual_time
async def test_a_server_that_keeps_no_logs_gets_no_more() -> None:
    server = Server(404)
    async with client_of(server) as client:
        logs = LogReports(client)
        with capture_logs() as written:
            logging(logs, "a")
            await asyncio.sleep(5)
            logging(logs, "b")
            await asyncio.sleep(5)
        assert len(server.got) == 1
        assert [each["event"] for each in written if each["log_level"] == "info"] == ["server_keeps_no_logs"]


@in_virtual_time
async def test_a_server_that_is_down_gets_them_later_and_the_last_ones_at_the_end() -> None:
    server = Server(503)
    async with client_of(server) as client:
        logs = LogReports(client)
        logging(logs, "a")
        await asyncio.sleep(3.5)
        assert len(server.got) == 4
        server.status = 200
        logging(logs, "b")
        await logs.finish(5)
        (job,) = server.got[-1]
        assert [line["text"] for line in job["lines"]] == ["b"]

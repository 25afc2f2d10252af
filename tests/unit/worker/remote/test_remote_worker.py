"""How a pull worker comes to its end, with a server that is a function and a clock that does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from queuey.client import Client
from queuey.errors import StartupError
from queuey.lifecycle import done_before
from queuey.metrics import Metrics
from queuey.settings.client_access import Access
from queuey.settings.settings import Settings
from queuey.worker.handlers.app import App
from queuey.worker.hooks.events import JobEvent
from queuey.worker.remote import remote_worker
from queuey.worker.remote.http_source import POLL_SECONDS, HttpSource
from queuey.worker.settings import RemoteSettings, WorkerSettings
from queuey.worker.worker import Worker
from tests.support.executions import executing
from tests.support.virtual_time import in_virtual_time

SETTINGS = WorkerSettings.of(Settings(concurrency=10, grace=7.0), "w", ["default"])
JOB = "00" + "0" * 25

app = App()
succeeded: list[str] = []


@app.on_success
def keep(event: JobEvent) -> None:
    succeeded.append(f"{event.type} {event.job_id}")


@app.job("quick")
async def quick(payload: Any) -> Any:
    return payload


@app.job("endless")
async def endless(payload: Any) -> None:
    await asyncio.sleep(1e6)


class Server:
    """Gives `jobs` at the first request for some, and then answers like `after`; keeps what the worker tells."""

    def __init__(self, *jobs: str, after: int | None = None, complete: httpx.Response | None = None) -> None:
        self._jobs = [
            {"id": f"{JOB}{number}", "type": type, "token": "1.a", "payload": number, "attempt": 1}
            | {"lease_expires_at": "2030-01-01T00:00:00Z"}
            for number, type in enumerate(jobs)
        ]
        self._after = after
        self._complete = complete
        self.told: dict[str, list[str]] = {}
        self.claims: list[tuple[str, float, int]] = []
        """Claim id, wait and number of each request for jobs."""
        self.failing = 0
        """How many of the next requests for jobs get no jobs but an error."""
        self.taken = asyncio.Event()
        """The worker has its jobs, and asks for more."""
        self.came = asyncio.Event()
        """An outcome."""

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        verb = request.url.path.rpartition("/")[2]
        if verb == "leases":
            asked = msgspec.json.decode(request.content)
            self.claims.append((asked["claim_id"], asked["wait"], asked["max"]))
            if self.failing:
                self.failing -= 1
                return DOWN
            return await self._lease(asked["wait"])
        self.came.set()
        jobs = msgspec.json.decode(request.content)["jobs"]
        self.told.setdefault(verb, []).extend(job["id"][-1] for job in jobs)
        if verb == "complete" and self._complete is not None:
            return self._complete
        status = "dead_letter" if verb == "fail" else "ok"
        return httpx.Response(200, json={"results": [{"id": job["id"], "status": status} for job in jobs]})

    async def _lease(self, wait: float) -> httpx.Response:
        if self._jobs:
            jobs, self._jobs = self._jobs, []
            return httpx.Response(200, json={"jobs": jobs})
        await asyncio.sleep(0.001)  # on the way: the worker asks before it takes its jobs in
        self.taken.set()
        if self._after is not None:
            problem = {"type": "urn:queuey:problem:forbidden", "title": "", "status": self._after, "detail": "No more."}
            return httpx.Response(self._after, json=problem)
        await asyncio.sleep(wait)
        return httpx.Response(200, json={"jobs": []})


class Remote:
    """A worker on an HttpSource, as `queuey work` builds it."""

    def __init__(self, source: HttpSource, worker: Worker) -> None:
        self.source = source
        self.running = worker.running
        self.drain = worker.drain
        self._worker = worker

    async def run(self) -> None:
        await self.source.while_reporting(self._worker.run())


@asynccontextmanager
async def working(server: Server) -> AsyncIterator[Remote]:
    async with (
        executing(app, None, grace=SETTINGS.grace) as execution,
        Client("http://q.test", retries=0, transport=httpx.MockTransport(server)) as client,
    ):
        source = HttpSource(client, SETTINGS, execution.wanted_wait, events=app.hooks.events)
        yield Remote(source, Worker(source, execution, SETTINGS, metrics=Metrics()))
        await source.close()


def now() -> float:
    return asyncio.get_running_loop().time()


DOWN = httpx.Response(
    503, json={"type": "urn:queuey:problem:store-unavailable", "title": "", "status": 503, "detail": "Down."}
)


@in_virtual_time
async def test_what_ends_when_it_is_cancelled_is_given_back_without_waiting_for_the_grace() -> None:
    server = Server("endless", "endless")
    async with working(server) as worker:
        assert not await done_before(worker.run(), server.taken)
        began = now()
        await worker.drain(3.0)
        assert now() - began < 3.0 + SETTINGS.grace / 2
    assert sorted(server.told["release"]) == ["0", "1"]
    assert "fail" not in server.told


@in_virtual_time
async def test_a_result_that_cannot_be_told_in_the_end_is_given_back() -> None:
    server = Server("quick", complete=DOWN)
    async with working(server) as worker:
        assert not await done_before(worker.run(), server.came)
        began = now()
        await worker.drain(3.0)
        assert 3.0 + SETTINGS.release_seconds <= now() - began < 4.0 + SETTINGS.release_seconds
        assert not worker.running
    assert server.told["release"] == ["0"]


@in_virtual_time
async def test_a_result_that_is_being_told_has_its_time_in_the_end() -> None:
    server = Server("quick", complete=DOWN)
    succeeded.clear()
    async with working(server) as worker:
        assert not await done_before(worker.run(), server.came)
        assert succeeded == []
        server._complete = None
        await worker.drain(0.0)
    assert succeeded == [f"quick {JOB}0"], "its App learns of an outcome that the server has confirmed"
    assert server.told["complete"] == ["0", "0"]
    assert "release" not in server.told


def test_after_a_refusal_of_jobs_it_drains_and_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("endless", after=403)
    monkeypatch.setattr("queuey.log.configure", lambda *_: None)  # it would hold for the tests that follow
    monkeypatch.setattr(remote_worker, "Client", partial(Client, transport=httpx.MockTransport(server)))
    settings = Settings(app=f"{__name__}:app", drain_timeout=0.0)
    with pytest.raises(StartupError, match="No more"):
        remote_worker.work(RemoteSettings.of(settings, Access("http://q.test", None), "w"))
    assert server.told == {"release": ["0"]}


@pytest.mark.parametrize("part", ["_reports", "_progress"])
def test_when_a_part_ends_so_does_the_worker_and_gives_its_jobs_back(part: str) -> None:
    @in_virtual_time
    async def run() -> None:
        server = Server("endless")
        async with working(server) as worker:
            running = asyncio.create_task(worker.run())
            await server.taken.wait()
            broken = getattr(worker.source, part)
            broken._client = None
            if part == "_reports":
                broken.add(None)
            else:
                broken.on_progress(next(iter(worker.running.values())).work, None)
            with pytest.raises(AttributeError):
                await asyncio.wait_for(running, 100)
            began = now()
            await worker.drain(20.0)
            assert (now() - began < 20.0) == (part == "_reports")
        assert server.told["release"] == ["0"]

    run()


@in_virtual_time
async def test_a_request_that_failed_is_made_again_with_its_claim_id() -> None:
    server = Server("quick")
    server.failing = 2
    with capture_logs() as logs:
        async with working(server) as worker:
            assert not await done_before(worker.run(), server.taken)
            await worker.drain(3.0)
    first, second, third, fourth, *_ = server.claims
    assert first == second == third
    assert first[1:] == (POLL_SECONDS, 10)
    assert fourth[0] != first[0]
    assert [(log["event"], log["error"]) for log in logs] == [("lease_failed", "Down.")] * 2


@in_virtual_time
async def test_jobs_of_a_request_that_was_broken_off_are_given_back_unseen() -> None:
    server = Server()
    async with working(server) as worker:
        assert not await done_before(worker.run(), server.taken)
        server._jobs = Server("quick", "quick")._jobs
        await worker.drain(3.0)
    (asked, _, _), (repeated, wait, _) = server.claims
    assert (repeated, wait) == (asked, 0)
    assert server.told == {"release": ["0", "1"]}


@in_virtual_time
async def test_a_failure_is_reported_with_its_kind_and_logged() -> None:
    server = Server("nobody")
    with capture_logs() as logs:
        async with working(server) as worker:
            assert not await done_before(worker.run(), server.came)
            await worker.drain(3.0)
    assert server.told == {"fail": ["0"]}
    assert [(log["event"], log["job_id"], log["kind"]) for log in logs] == [("job_dead", f"{JOB}0", "unknown_type")]

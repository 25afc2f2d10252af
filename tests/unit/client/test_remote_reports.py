"""What a pull worker does when the server cannot be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from queuey import remote_reports
from queuey.client import Client
from queuey.models import CompleteItem, FailItem
from queuey.remote_reports import Outcome, Reports
from queuey.stopping import end_tasks
from tests.support.virtual_time import in_virtual_time

Answer = Callable[[str, list[dict[str, Any]]], httpx.Response]
DOWN = httpx.Response(
    503, json={"type": "urn:queuey:problem:store-unavailable", "title": "", "status": 503, "detail": "Down."}
)


def ok(verb: str, jobs: list[dict[str, Any]]) -> httpx.Response:
    status = "ok" if verb == "complete" else "retry"
    return httpx.Response(200, json={"results": [{"id": job["id"], "status": status} for job in jobs]})


class Told:
    """A server that answers request after request as told, the last way for ever, and what came of the reports."""

    def __init__(self, *answers: Answer | httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, list[str]]] = []
        self.statuses: dict[str, str] = {}
        self.enough = asyncio.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        verb = request.url.path.rpartition("/")[2]
        jobs = msgspec.json.decode(request.content)["jobs"]
        self.requests.append((verb, [job["id"] for job in jobs]))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(verb, jobs) if callable(answer) else answer

    async def of(self, *outcomes: Outcome, retries: int = 0) -> dict[str, str]:
        def on_told(outcome: Outcome, status: str) -> None:
            self.statuses[outcome.id] = status
            if len(self.statuses) == len(outcomes):
                self.enough.set()

        async with Client("http://q.test", retries=retries, transport=httpx.MockTransport(self)) as client:
            reports = Reports(client, on_told)
            for outcome in outcomes:
                reports.add(outcome)
            task = asyncio.create_task(reports.run())
            await self.enough.wait()
            await end_tasks([task])
        return self.statuses


def done(number: int) -> CompleteItem:
    return CompleteItem(f"c{number}", "1.a")


def failed(number: int) -> FailItem:
    return FailItem(f"f{number}", "1.a", "broken")


@in_virtual_time
async def test_what_has_gathered_goes_in_one_request_of_each_kind() -> None:
    told = Told(ok)
    statuses = await told.of(done(1), failed(1), done(2))
    assert statuses == {"c1": "ok", "c2": "ok", "f1": "retry"}
    assert sorted(told.requests) == [("complete", ["c1", "c2"]), ("fail", ["f1"])]


@in_virtual_time
async def test_it_is_told_again_while_the_store_is_away() -> None:
    told = Told(DOWN, DOWN, DOWN, ok)
    assert await told.of(done(1)) == {"c1": "ok"}
    assert len(told.requests) == 4


@in_virtual_time
async def test_but_not_for_ever() -> None:
    told = Told(DOWN)
    began = asyncio.get_running_loop().time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", asyncio.get_running_loop().time)
        assert await told.of(done(1)) == {"c1": "untold"}
    assert asyncio.get_running_loop().time() - began >= remote_reports.PATIENCE


@in_virtual_time
async def test_of_a_batch_only_what_the_store_did_not_take_is_told_again() -> None:
    problem = {"type": "urn:queuey:problem:outcome-unknown", "title": "", "status": 503, "detail": "Unknown."}
    gone = {"type": "urn:queuey:problem:not-found", "title": "", "status": 404, "detail": "No such job."}
    large = {"type": "urn:queuey:problem:too-large", "title": "", "status": 413, "detail": "Too large."}

    def first(verb: str, jobs: list[dict[str, Any]]) -> httpx.Response:
        results = [
            {"id": "c1", "status": "ok"},
            {"id": "c2", "error": problem},
            {"id": "c3", "status": "lost"},
            {"id": "c4", "error": gone},
            {"id": "c5", "error": large},
        ]
        return httpx.Response(200, json={"results": results})

    told = Told(first, ok)
    statuses = await told.of(*map(done, range(1, 6)))
    assert statuses == {"c1": "ok", "c2": "ok", "c3": "lost", "c4": "lost", "c5": "untold"}
    assert told.requests[1:] == [("complete", ["c2"])]


@in_virtual_time
async def test_a_refusal_of_all_is_not_told_again() -> None:
    refused = httpx.Response(
        403, json={"type": "urn:queuey:problem:forbidden", "title": "", "status": 403, "detail": "No."}
    )
    told = Told(refused)
    assert await told.of(done(1), done(2)) == {"c1": "untold", "c2": "untold"}
    assert len(told.requests) == 1

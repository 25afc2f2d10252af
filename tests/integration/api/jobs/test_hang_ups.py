"""Requests that end early: the client hangs up, the request is cancelled, or the server has a bug."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.http import HOST, UNKNOWN_ID, ApiRig, problem
from tests.support.store import Rig
from tests.support.stores import one_of

shards = one_of(4)
pytestmark = pytest.mark.usefixtures("both_ways")


async def exchange(api: ApiRig, path: str, messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One request by hand. Returns what was sent back."""
    sent: list[dict[str, Any]] = []
    incoming = iter(messages)
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [(b"host", HOST.encode())]}

    async def receive() -> dict[str, Any]:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message)

    await api.app(scope, receive, send)
    return sent


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/batch"])
async def test_a_client_that_hangs_up_in_its_body_costs_nothing(rig: Rig, api: ApiRig, path: str) -> None:
    part = {"type": "http.request", "body": b'{"type":"t"}', "more_body": True}
    async with rig.unchanged():
        assert await exchange(api, path, [part, {"type": "http.disconnect"}]) == []
        assert await exchange(api, path, [{"type": "http.disconnect"}]) == []


async def test_a_request_that_is_cancelled_hurts_no_other(api: ApiRig) -> None:
    requests = [asyncio.create_task(api.submit(payload=n)) for n in range(20)]
    await asyncio.sleep(0)
    for request in requests[::2]:
        request.cancel()
    await asyncio.wait(requests)
    for number, request in enumerate(requests):
        if not request.cancelled():
            assert (await api.job(request.result()))["payload"] == number
    assert sum(not request.cancelled() for request in requests) >= 10


async def test_a_bug_is_a_problem_without_details(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(api.broker.shards, "of_job", fail)
    monkeypatch.setattr(api.producer, "_shard_of", fail)
    responses = [
        await api.http.post("/v1/jobs", json={"type": "t"}),
        await api.http.get(f"/v1/jobs/{UNKNOWN_ID}"),
    ]
    for response in responses:
        problem(response, 500, "internal-error")
        assert "s3cret" not in response.text

"""NaN and infinities are refused before anything is sent, in every argument of every call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from math import inf, nan
from typing import Any

import httpx
import pytest
from msgspec import Raw

from queuey import App
from queuey.client import Client
from queuey.models import CompleteItem, ExtendItem, FailItem, JobRequest, LeasedJob, ProgressReport
from queuey.worker.testing import Testing

JOB = LeasedJob("J", "1.x", "mail", Raw(b"null"), 1, datetime.now(UTC))

app = App()


@app.job("later")
async def later(job: Any) -> Any:
    return job


def request(**fields: Any) -> JobRequest:
    return JobRequest("mail", **fields)


async def first(items: AsyncIterator[Any]) -> None:
    await anext(items)


Call = Callable[[Client, float], Awaitable[Any]]
CALLS: dict[str, tuple[str, Call]] = {
    "payload": ("/payload/price", lambda c, n: c.enqueue("mail", {"price": n})),
    "payload of run": ("/payload/0", lambda c, n: c.run("mail", [n])),
    "payload of many": ("/payload/x", lambda c, n: c.enqueue_many([request(payload={"x": n})])),
    "payload of send": ("/payload", lambda c, n: c.send(request(payload=n))),
    "payload of a handler": ("/payload/x", lambda c, n: later.enqueue({"x": n}, client=c)),
    "payload of edit": ("/payload/x", lambda c, n: c.edit("J", {"x": n})),
    "delay": ("/delay", lambda c, n: c.enqueue("mail", delay=n)),
    "expires_in": ("/expires_in", lambda c, n: c.enqueue("mail", expires_in=n)),
    "timeout": ("/timeout", lambda c, n: c.enqueue("mail", timeout=n)),
    "retention": ("/retention", lambda c, n: c.enqueue("mail", retention=n)),
    "max_attempts": ("/max_attempts", lambda c, n: c.enqueue("mail", max_attempts=n)),  # type: ignore[arg-type]
    "result": ("/result/score", lambda c, n: c.complete(JOB, {"score": n})),
    "result of many": ("/result", lambda c, n: c.complete_many([CompleteItem("J", "1.x", n)])),  # type: ignore[arg-type]
    "retry_after": ("/retry_after", lambda c, n: c.fail(JOB, "x", retry_after=n)),
    "retry_after of many": ("/retry_after", lambda c, n: c.fail_many([FailItem("J", "1.x", "x", n)])),
    "lease": ("/lease", lambda c, n: c.extend(JOB, n)),
    "lease of many": ("/lease", lambda c, n: c.extend_many([ExtendItem("J", "1.x", n)])),
    "progress": ("/progress/done", lambda c, n: c.extend(JOB, progress=ProgressReport(n))),
    "lease of a lease": ("/lease", lambda c, n: c.lease(lease=n)),
    "wait of a lease": ("/wait", lambda c, n: c.lease(wait=n)),
    "older_than": ("/older_than", lambda c, n: c.dlq_delete(older_than=n)),
    "younger_than": ("/younger_than", lambda c, n: c.dlq_replay(younger_than=n)),
    "rate": ("/rate", lambda c, n: c.dlq_replay(rate=n)),
    "filter of a list": ("older_than", lambda c, n: first(c.dlq(older_than=n))),
    "filter of groups": ("older_than", lambda c, n: c.dlq_groups(older_than=n)),
    "limit": ("limit", lambda c, n: c.replay(n)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("number", [nan, inf, -inf])
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_with_such_a_number_sends_nothing(name: str, number: float) -> None:
    place, call = CALLS[name]
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(500)

    async with Client("http://q.test", transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(ValueError, match=f"^{place} is {number}") as caught:
            await call(client, number)
    advice = "Send null or a string." if place.startswith(("/payload", "/result")) else "Give a finite number."
    assert str(caught.value).endswith(advice)
    assert sent == []


async def test_nobody_waits_for_nan_seconds() -> None:
    async with Client("http://q.test", transport=httpx.MockTransport(lambda _: httpx.Response(500))) as client:
        for call in (client.wait("J", nan), client.run("mail", wait=nan)):
            with pytest.raises(ValueError, match="nan seconds"):
                await call


async def test_a_test_of_handlers_refuses_what_a_client_refuses() -> None:
    async with Testing(app) as testing:
        with pytest.raises(ValueError, match=r"^/payload/0 is nan"):
            await testing.run("later", [nan])
        ran = await testing.run("later", [None])
    assert bytes(ran.result) == b"[null]"

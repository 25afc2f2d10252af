"""Failures are reported to Sentry once, with the job that failed. The SDK's transport is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from queuey import App, Dead, Retry, Testing
from queuey.integrations import sentry
from queuey.protocol import ids

app = App()
sentry.install(app)


@app.job("loop", max_attempts=4)
async def in_loop(how: str) -> None:
    await act(how)


@app.job("thread", queue="slow")
def in_thread(how: str) -> None:
    sentry_sdk.set_tag("mine", how)
    raise ValueError(how)


async def act(how: str) -> None:
    if how == "retry":
        raise Retry("as planned")
    if how == "dead":
        raise Dead("no such order")
    if how == "error":
        raise ValueError("broken")
    if how == "timeout":
        await asyncio.Event().wait()


class Kept(Transport):
    """Keeps the events that the SDK would send."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events.append(envelope.get_event())


@pytest.fixture
def events() -> Iterator[list[Any]]:
    kept = Kept()
    sentry_sdk.init(
        dsn="http://key@sentry.test/1", transport=kept, default_integrations=False, auto_enabling_integrations=False
    )
    yield kept.events
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


async def run(type: str, payload: object, **options: Any) -> None:
    async with Testing(app) as testing:
        await testing.run(type, payload, **options)


async def test_an_exception_is_reported_once_with_its_job(events: list[Any]) -> None:
    await run("loop", "error", attempt=2)
    (event,) = events
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ValueError", "broken")
    assert exception["stacktrace"]["frames"][-1]["function"] == "act"
    assert event["transaction"] == "loop"
    assert event["tags"] == {"queuey.type": "loop", "queuey.queue": "default"}
    job = event["contexts"]["job"]
    assert (job["type"], job["attempt"], job["of"], ids.is_id(job["id"])) == ("loop", 2, 4, True)


async def test_a_thread_has_a_scope_of_its_own(events: list[Any]) -> None:
    await run("thread", "one")
    await run("loop", "dead")
    first, second = events
    assert first["tags"] == {"queuey.type": "thread", "queuey.queue": "slow", "mine": "one"}
    assert second["tags"] == {"queuey.type": "loop", "queuey.queue": "default"}
    assert second["exception"]["values"][0]["type"] == "Dead"


@pytest.mark.parametrize("how", ["retry", "fine"])
async def test_what_is_planned_is_not_reported(events: list[Any], how: str) -> None:
    await run("loop", how)
    assert events == []


async def test_failures_that_no_handler_raised_are_reported_too(events: list[Any]) -> None:
    await run("loop", 7)
    (event,) = events
    assert event["message"].startswith("loop: payload: Expected `str`, got `int`")
    assert (event["level"], event["fingerprint"]) == ("error", ["queuey", "loop", "payload"])
    assert event["contexts"]["job"]["type"] == "loop"


async def test_a_timeout_is_reported_once(events: list[Any]) -> None:
    short = App()
    sentry.install(short)
    short.job("slow", timeout=0.01)(act)
    async with Testing(short) as testing:
        assert (await testing.run("slow", "timeout")).kind == "timeout"
    (event,) = events
    assert event["message"].startswith("slow: timeout: ")

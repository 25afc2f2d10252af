"""Events: functions that learn how attempts begin and end, and cannot change anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from queuey import App, Context, Dead, JobEvent, Retry, Testing
from queuey.errors import StartupError
from queuey.worker.handlers.attempt_log import AttemptLog
from queuey.worker.hooks.event_log import ReportedAttempts, attempt_log
from queuey.worker.hooks.events import NAMES, Events


class Watched:
    """An App whose job has each outcome, and all that it was notified of."""

    def __init__(self) -> None:
        self.app = App()
        self.seen: list[tuple[str, JobEvent]] = []
        for name in NAMES:
            getattr(self.app, name)(self._keep(name))

        @self.app.job("job", max_attempts=2)
        async def job(payload: str, ctx: Context) -> None:
            self.seen.append(("ran", JobEvent(ctx.job_id, ctx.type, ctx.queue, ctx.attempt, ctx.max_attempts)))
            if payload == "retry":
                raise Retry("later")
            if payload == "dead":
                raise Dead("never")
            if payload == "error":
                raise ValueError("broken")
            if payload == "timeout":
                await asyncio.Event().wait()

    def _keep(self, name: str) -> Any:
        return lambda event: self.seen.append((name, event))

    async def run(self, payload: object, attempt: int = 1) -> list[str]:
        self.seen.clear()
        async with Testing(self.app) as testing:
            await testing.run("job", payload, attempt=attempt)
        return [name for name, _ in self.seen]


@pytest.mark.parametrize(
    ("payload", "attempt", "events"),
    [
        ("fine", 1, ["on_start", "ran", "on_success"]),
        ("retry", 1, ["on_start", "ran", "on_failure", "on_retry"]),
        ("error", 1, ["on_start", "ran", "on_failure", "on_retry"]),
        ("error", 2, ["on_start", "ran", "on_failure", "on_dead"]),
        ("dead", 1, ["on_start", "ran", "on_failure", "on_dead"]),
        (7, 1, ["on_start", "on_failure", "on_dead"]),
    ],
)
async def test_each_outcome_is_reported_in_order(payload: object, attempt: int, events: list[str]) -> None:
    assert await Watched().run(payload, attempt) == events


async def test_an_event_says_what_happened_to_which_job() -> None:
    watched = Watched()
    await watched.run("error", 2)
    (_, start), (_, ran), (_, failure), (_, dead) = watched.seen
    assert (start.type, start.queue, start.attempt, start.max_attempts, start.kind) == ("job", "default", 2, 2, None)
    assert start.job_id == ran.job_id == failure.job_id
    assert (failure.kind, failure.message) == ("error", "ValueError: broken")
    assert 'raise ValueError("broken")' in str(failure.traceback)
    assert failure is dead


async def test_an_exception_is_logged_and_changes_nothing() -> None:
    watched = Watched()

    @watched.app.on_success
    def fails(event: JobEvent) -> None:
        raise SystemExit("no")

    watched.app.on_success(watched._keep("after it"))
    with capture_logs() as logs:
        assert await watched.run("fine") == ["on_start", "ran", "on_success", "after it"]
    (line,) = logs
    assert (line["log_level"], line["event"], line["type"], line["error"]) == (
        "error",
        "hook_failed",
        "job",
        "SystemExit: no",
    )
    assert line["hook"].startswith("on_success: ")
    assert "test_events.py:" in line["hook"]
    assert 'raise SystemExit("no")' in line["exception"]


def test_the_log_of_attempts_notifies_only_an_app_that_wants_to_know() -> None:
    events = Events()
    events.add("on_start", print)
    assert type(attempt_log(events)) is type(attempt_log(None)) is AttemptLog
    events.add("on_dead", print)
    assert type(attempt_log(events)) is ReportedAttempts


async def waits(event: JobEvent) -> None: ...


def without() -> None: ...


@pytest.mark.parametrize("name", NAMES)
def test_a_function_that_does_not_fit_is_refused(name: str) -> None:
    register = getattr(App(), name)
    for function, message in (
        (waits, rf"\.waits \(.*test_events.py:\d+\): {name} calls a plain function"),
        (without, rf"\.without \(.*test_events.py:\d+\): a function for {name} takes \(event\)"),
    ):
        with pytest.raises(StartupError, match=message):
            register(function)


async def test_one_that_is_registered_twice_or_too_late_is_refused() -> None:
    def late(payload: Any) -> None:
        app.on_dead(seen.append)

    app, seen = App(), list[JobEvent]()
    app.job("late")(late)
    app.on_dead(print)
    app.on_retry(print)
    with pytest.raises(StartupError, match=r"print: this function is registered twice for on_dead"):
        app.on_dead(print)
    async with Testing(app) as testing:
        assert "the App runs already: register on_dead" in str((await testing.run("late")).message)

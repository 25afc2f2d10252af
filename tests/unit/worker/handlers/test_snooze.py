"""Snooze: a handler has its job run again, without an attempt, wherever it runs and whoever looks at it."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from queuey import App, Context, HandlerOutcome, JobEvent, Middleware, Snooze, Testing
from queuey.errors import StartupError
from queuey.worker.handlers.attempt import Failed, Work
from queuey.worker.handlers.attempt_log import AttemptLog
from tests.support.executions import executing, failed, make_work
from tests.unit.worker.handlers import snoozing_app as snoozing

TYPES = ("loop", "loop.later", "thread", "process")
WORK = Work("j1", "mail", "default", "1", "1.t", 2, 5, started_at=10.0)


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("type", TYPES)
async def test_it_is_its_own_kind_of_outcome(type: str, isolated: bool) -> None:
    async with executing(snoozing.app, snoozing.PATH) as execution:
        work = make_work(type, "2.5")
        work.isolated = isolated
        outcome = failed(await execution.run(work), "snooze")
    assert (outcome.message, outcome.detail, outcome.dead, outcome.retry_after_ms) == ("not ready", None, False, 2500)


@pytest.mark.parametrize("delay", [-1, 1e9, float("nan")])
def test_its_delay_is_bounded(delay: float) -> None:
    with pytest.raises(ValueError, match=r"delay|Snooze"):
        Snooze(delay)


def test_no_policy_is_about_it() -> None:
    with pytest.raises(StartupError, match="dead_on=Snooze: the handler that raises it has decided already"):
        App().job("x", dead_on=Snooze)(lambda payload: None)


async def test_middleware_sees_it_and_events_do_not() -> None:
    app, seen, events = App(), list[HandlerOutcome](), list[JobEvent]()

    @app.middleware
    def look(ctx: Context) -> Middleware:
        seen.append((yield))

    for register in (app.on_success, app.on_failure, app.on_retry, app.on_dead):
        register(events.append)

    @app.job("poll", max_attempts=1)
    async def poll(payload: Any) -> None:
        raise Snooze(60, "not ready")

    async with Testing(app) as testing:
        ran = await testing.run(poll)
    assert (ran.status, ran.kind, ran.message, ran.retry_after) == ("snoozed", "snooze", "not ready", 60)
    assert [(each.status, type(each.exception)) for each in seen] == [("snooze", Snooze)]
    assert events == []


async def test_a_middleware_may_snooze() -> None:
    app = App()

    @app.middleware
    def hold(ctx: Context) -> Middleware:
        if ctx.attempt:
            raise Snooze(5)
        yield

    @app.job("poll")
    def poll(payload: Any) -> None: ...

    async with Testing(app) as testing:
        assert (await testing.run(poll)).status == "snoozed"


@pytest.mark.parametrize(("jobs", "lines"), [("failed", []), ("all", ["info"])])
def test_the_log_has_it_as_it_has_successes(jobs: Any, lines: list[str]) -> None:
    snoozed = Failed("snooze", "not ready", after=5, retry_after_ms=5000)
    with capture_logs() as logs:
        AttemptLog(jobs=jobs).failed(WORK, snoozed, "snoozed", 11.5)
    told = {"event": "job_snoozed", "job_id": "j1", "type": "mail", "attempt": 2, "ran_ms": 1500.0}
    assert logs == [{**told, "log_level": level, "again_in_ms": 5000, "reason": "not ready"} for level in lines]


@pytest.mark.parametrize(("reason", "shown"), [("", ""), ("not ready", ": not ready")])
def test_one_too_many_is_a_failure(reason: str, shown: str) -> None:
    last = Failed("snooze", reason, after=5, retry_after_ms=5000).as_last()
    assert (last.message, last.dead) == (f"snoozed more than 1,000 times{shown}", True)
    other = Failed("error", "no")
    assert other.as_last() is other

"""retry_on, dead_on and backoff functions: what a handler's exception means, wherever the handler runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from queuey.errors import StartupError
from queuey.protocol.models import Backoff
from queuey.worker.execution import Execution
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Failed, Work
from queuey.worker.handlers.context import Dead, Retry
from tests.support.executions import executing, make_work
from tests.unit.worker.handlers import fussy_app as fussy

MODES = ("loop", "thread", "process")


@pytest.fixture
async def execution() -> AsyncIterator[Execution]:
    async with executing(fussy.app, fussy.PATH) as execution:
        yield execution


async def run(execution: Execution, work: Work) -> Failed:
    outcome = await execution.run(work)
    assert isinstance(outcome, Failed)
    assert outcome.kind == "error"
    return outcome


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("policy", "retried"),
    [
        ("plain", {"lookup", "key", "index", "value", "group", "os"}),
        ("retry", {"lookup", "key", "index", "group", "os"}),
        ("dead", {"lookup", "index", "value", "os"}),
        ("both", {"lookup", "index"}),
    ],
)
async def test_which_errors_are_retried(execution: Execution, mode: str, policy: str, retried: set[str]) -> None:
    names = ("lookup", "key", "index", "value", "group", "os")
    outcomes = {name: await run(execution, make_work(f"{policy}.{mode}", f'"{name}"')) for name in names}
    assert {name for name, failed in outcomes.items() if not failed.dead} == retried
    assert all(1000 <= outcomes[name].retry_after_ms <= 2000 for name in retried)


@pytest.mark.parametrize("mode", MODES)
async def test_a_function_decides_how_long_to_wait(execution: Execution, mode: str) -> None:
    for attempt in (1, 2, 3):
        failed = await run(execution, make_work(f"wait.{mode}", '"lookup"', attempt=attempt))
        assert failed.retry_after_ms == attempt * 100_000


@pytest.mark.parametrize("mode", MODES)
async def test_the_backoff_of_the_job_goes_before_it(execution: Execution, mode: str) -> None:
    work = make_work(f"wait.{mode}", '"lookup"', backoff=Backoff(base=10, factor=1, cap=10))
    assert 5000 <= (await run(execution, work)).retry_after_ms <= 10_000


@pytest.mark.parametrize(
    ("name", "reason"),
    [("key", "RuntimeError: no such wait"), ("index", "it returned -1.0, which is not between 0 and 31536000 seconds")],
)
async def test_a_function_that_fails_leaves_the_default(execution: Execution, name: str, reason: str) -> None:
    with capture_logs() as logs:
        failed = await run(execution, make_work("wait.loop", f'"{name}"'))
    assert 1000 <= failed.retry_after_ms <= 2000
    assert [(line["event"], line["type"], line["error"]) for line in logs] == [("backoff_failed", "wait.loop", reason)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry_on": "ValueError"}, "retry_on='V': pass a class of exceptions, or several"),
        ({"retry_on": int}, "retry_on=<class 'int'>: pass a class"),
        ({"dead_on": [ValueError("no")]}, r"dead_on=ValueError\('no'\): pass a class"),
        ({"dead_on": 5}, "dead_on=5: pass a class"),
        ({"dead_on": Dead}, "dead_on=Dead: the handler that raises it has decided already; leave it out"),
        ({"retry_on": (OSError, Retry)}, "retry_on=Retry: the handler that raises it"),
        ({"backoff": 5}, "backoff=5: pass a Backoff, or a function"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError, match=message):
        App().job("t", **options)(fussy.fail)

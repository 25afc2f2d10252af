"""Executions for tests: short grace, few slots, and every event kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from queuey.protocol.models import Backoff
from queuey.worker.execution import Execution
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Failed, Outcome, Work
from queuey.worker.settings import ExecutionSettings
from tests.support import handlers

TOKEN = "7.abc"
RESULT_LIMIT = 1000


class Events(list[tuple[str, dict[str, object]]]):
    """`on_event`: keeps every event; `came` is set at the first."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()
        self._new: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self, event: str, /, **fields: object) -> None:
        self.append((event, fields))
        self.came.set()
        self._new.put_nowait(event)

    async def next(self) -> str:
        """Wait for the name of the next event."""
        return await self._new.get()

    @property
    def names(self) -> list[str]:
        return [event for event, _ in self]


class HeldTimers:
    """Keeps back the timeouts of handlers that start from now on, until the test starts them."""

    def __init__(self, execution: Execution, monkeypatch: pytest.MonkeyPatch) -> None:
        self._start = execution._stopper.start_timer
        self._held: dict[str, tuple[Work, float]] = {}
        monkeypatch.setattr(execution._stopper, "start_timer", self._hold)

    def _hold(self, work: Work, timeout: float) -> None:
        self._held[work.id] = work, timeout

    @property
    def begun(self) -> list[str]:
        """The jobs whose timeouts run, in the order in which they began."""
        return list(self._held)

    def start(self, job_id: str) -> None:
        self._start(*self._held[job_id])


def make_work(
    type: str,
    payload: object = None,
    *,
    id: str = "job-1",
    attempt: int = 1,
    timeout: float | None = None,
    backoff: Backoff | None = None,
) -> Work:
    text = payload if isinstance(payload, str) else msgspec.json.encode(payload).decode()
    return Work(id, type, "default", text, TOKEN, attempt, 5, timeout, backoff)


@asynccontextmanager
async def executing(
    app: App = handlers.app,
    path: str | None = handlers.PATH,
    *,
    events: Events | None = None,
    grace: float = 5.0,
    **options: Any,
) -> AsyncIterator[Execution]:
    """An Execution that has been started. Leaving it stops it; nothing may be stuck then."""
    defaults: dict[str, Any] = {"thread_slots": 2, "process_slots": 2, "default_timeout": 30.0}
    settings = ExecutionSettings(grace=grace, result_limit=RESULT_LIMIT, **(defaults | options))
    execution = Execution(app, path, settings, on_event=Events() if events is None else events)
    await execution.start()
    try:
        yield execution
    finally:
        stuck = await execution.stop(abandon=True)
    assert stuck == 0


def failed(outcome: Outcome, kind: str) -> Failed:
    """The outcome, which must be a failure of that kind."""
    assert isinstance(outcome, Failed), outcome
    assert outcome.kind == kind, outcome
    return outcome

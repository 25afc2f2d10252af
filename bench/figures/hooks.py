"""What a middleware costs a job: CPU of this thread, with a handler that does nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from queuey import App, AsyncMiddleware, Context
from queuey.worker.execution import Execution
from queuey.worker.handlers.attempt import Failed, Succeeded, Work
from queuey.worker.settings import ExecutionSettings

JOBS: Final = 10_000
NAMES: Final = (
    "CPU of an attempt, no hook",
    "CPU that a plain middleware adds",
    "CPU that an async middleware adds",
)
ROUNDS: Final = 20
"""Of each kind in turn. The least of them counts, since nothing makes a job faster than it is."""


def _plain(ctx: Context) -> Iterator[None]:
    yield


async def _async(ctx: Context) -> AsyncMiddleware:
    yield


def _app(*middleware: object) -> App:
    app = App()
    for each in middleware:
        app.middleware(each)  # type: ignore[arg-type]

    @app.job("bench.noop")
    async def noop(payload: str) -> None:
        return None

    return app


async def costs(folder: Path) -> list[float]:
    """The µs of a job without a hook, and what a plain and an async middleware add to it."""
    apps = [_app(), _app(_plain), _app(_async)]
    least = [float("inf")] * len(apps)
    for _ in range(ROUNDS):
        for at, app in enumerate(apps):
            least[at] = min(least[at], await _cost(app))
    return [least[0], least[1] - least[0], least[2] - least[0]]


async def _cost(app: App) -> float:
    settings = ExecutionSettings(thread_slots=1, process_slots=1, default_timeout=60.0, grace=1.0, result_limit=1000)
    execution = Execution(app, None, settings)
    await execution.start()
    attempts = [Work(str(at), "bench.noop", "default", '"x"', "1.a", 1, 5) for at in range(JOBS)]
    before = time.thread_time()
    for work in attempts:
        begun = execution.begin(work)
        if not isinstance(begun, (Succeeded, Failed)):
            await begun
    spent = time.thread_time() - before
    await execution.stop(abandon=True)
    return 1e6 * spent / JOBS

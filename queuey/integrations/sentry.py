"""Failures of jobs in Sentry. Its SDK must be initialised by the App's module: `pip install 'queuey-server[sentry]'`.

sentry_sdk.init(dsn=...)
sentry.install(app)
"""

from __future__ import annotations

from typing import Final

import sentry_sdk

from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context
from queuey.worker.hooks.events import JobEvent
from queuey.worker.hooks.outcome import Middleware

RAISED: Final = ("error", "dead")
"""The kinds of failures that are reported as the exceptions that they are."""
ASKED_FOR: Final = ("retry", "cancelled")
"""The kinds that are not reported."""


def install(app: App) -> None:
    """Report each failed attempt of an App: exceptions where they are raised, other failures where they are known.

    A `Retry` is not reported. Register it before other middleware, so that it sees what those raise too.
    """
    app.middleware(report_exceptions)
    app.on_failure(report_others)


def report_exceptions(ctx: Context) -> Middleware:
    """Give a run a scope of its own, with tags of its job, and report the exception that ends it."""
    with sentry_sdk.isolation_scope() as scope:
        scope.set_transaction_name(ctx.type, source="task")
        _describe(scope, ctx.job_id, ctx.type, ctx.queue, ctx.attempt, ctx.max_attempts)
        outcome = yield
        if outcome.status in RAISED and outcome.exception is not None:
            scope.capture_exception(outcome.exception)


def report_others(event: JobEvent) -> None:
    """Report a failure that no handler raised, such as a timeout or a child process that died."""
    if event.kind is None or event.kind in RAISED + ASKED_FOR:
        return
    with sentry_sdk.isolation_scope() as scope:
        _describe(scope, event.job_id, event.type, event.queue, event.attempt, event.max_attempts)
        scope.fingerprint = ["queuey", event.type, event.kind]
        scope.capture_message(f"{event.type}: {event.kind}: {event.message}", level="error")


def _describe(scope: sentry_sdk.Scope, job_id: str, type: str, queue: str, attempt: int, max_attempts: int) -> None:
    scope.set_tag("queuey.type", type)
    scope.set_tag("queuey.queue", queue)
    scope.set_context("job", {"id": job_id, "type": type, "queue": queue, "attempt": attempt, "of": max_attempts})

"""Log lines of handlers that name their job, by structlog and by the standard library's logging.

    app.middleware(bind_job)

Lines that Queuey writes have the fields then. Formatters of your own get them from the filter:

    handler.addFilter(JobFields())
    handler.setFormatter(logging.Formatter("%(message)s job=%(job_id)s type=%(job_type)s attempt=%(job_attempt)s"))
"""

from __future__ import annotations

import logging
from typing import Final

from structlog.contextvars import bind_contextvars, get_contextvars, reset_contextvars

from queuey.protocol.job_requests import job_metadata
from queuey.protocol.models.labels import logged
from queuey.worker.handlers.context import Context
from queuey.worker.hooks.outcome import Middleware

MISSING: Final = "-"
"""The value of a field outside of a job."""


def bind_job(ctx: Context) -> Middleware:
    """Bind the job's id, type and attempt to structlog's context variables while its handler runs.

    `request_id` and `tenant` of its metadata are bound too. The jobs that the handler enqueues get them.
    """
    entries = logged(ctx.metadata)
    tokens = bind_contextvars(job_id=ctx.job_id, type=ctx.type, attempt=ctx.attempt, **entries)
    try:
        if entries:
            with job_metadata(**entries):
                yield
        else:
            yield
    finally:
        reset_contextvars(**tokens)


class JobFields(logging.Filter):
    """Adds `job_id`, `job_type` and `job_attempt` to each record, as `bind_job` has bound them.

    `job_request_id` and `job_tenant` are those of the job's metadata.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields, and let every record pass."""
        bound = get_contextvars()
        record.job_id = bound.get("job_id", MISSING)
        record.job_type = bound.get("type", MISSING)
        record.job_attempt = bound.get("attempt", MISSING)
        record.job_request_id = bound.get("request_id", MISSING)
        record.job_tenant = bound.get("tenant", MISSING)
        return True

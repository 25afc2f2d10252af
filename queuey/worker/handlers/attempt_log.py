"""The log lines about attempts at jobs: why they failed, and how long they took."""

from __future__ import annotations

from typing import Literal

from queuey import log
from queuey.protocol.models.labels import logged
from queuey.worker.handlers.attempt import Failed, Work

LogErrors = Literal["full", "message", "none"]
"""The parts of a failure that are logged: message and traceback, the message only, or neither."""
LogJobs = Literal["failed", "all"]
"""The jobs whose lines are above the level debug."""

logger = log.get(__name__)


class AttemptLog:
    """Writes one line for each attempt that has ended, once its outcome is stored.

    `decides` tells whether this process decides when the next attempt is due.
    """

    def __init__(self, errors: LogErrors = "full", jobs: LogJobs = "failed", *, decides: bool = True) -> None:
        self._errors = errors
        self._decides = decides
        self._logs_all = jobs == "all"

    def succeeded(self, work: Work, ended_at: float) -> None:
        """Log a success, whose handler ended at this time.monotonic(), if anybody wants to see it."""
        if self._logs_all:
            logger.info("job_succeeded", **_fields(work), ran_ms=_ran_ms(work, ended_at))
        elif log.debug_enabled():
            logger.debug("job_succeeded", **_fields(work), ran_ms=_ran_ms(work, ended_at))

    def failed(self, work: Work, failed: Failed, status: str, ended_at: float) -> None:
        """Log a failure. `status`: that of the job, `retry`, `snoozed`, `dead` (or `dead_letter`) or `cancelled`."""
        if status == "snoozed":
            self._snoozed(work, failed, ended_at)
            return
        fields = {**_fields(work), "ran_ms": _ran_ms(work, ended_at), "kind": failed.kind}
        if status == "cancelled":
            logger.info("job_cancelled", **fields)
            return
        if self._errors != "none":
            fields["error"] = failed.message
        if self._errors == "full" and failed.detail:
            fields["exception"] = failed.detail
        if status != "retry":
            logger.error("job_dead", **fields)
            return
        if self._decides or failed.after is not None:
            fields["retry_in_ms"] = failed.retry_after_ms
        if failed.kind in ("retry", "snooze"):  # as its handler asked for
            logger.info("job_failed", **fields)
        else:
            logger.warning("job_failed", **fields)

    def _snoozed(self, work: Work, failed: Failed, ended_at: float) -> None:
        """Log a snooze, as a success is logged."""
        if not (self._logs_all or log.debug_enabled()):
            return
        fields = {**_fields(work), "ran_ms": _ran_ms(work, ended_at), "again_in_ms": failed.retry_after_ms}
        if failed.message and self._errors != "none":
            fields["reason"] = failed.message
        (logger.info if self._logs_all else logger.debug)("job_snoozed", **fields)

    def lost(self, work: Work) -> None:
        """Log that another worker has the job's lease, so that the outcome does not count."""
        logger.warning("lease_lost", **_fields(work))


def _fields(work: Work) -> dict[str, object]:
    fields: dict[str, object] = {"job_id": work.id, "type": work.type, "attempt": work.attempt}
    if work.metadata:
        fields |= logged(work.metadata)
    return fields


def _ran_ms(work: Work, ended_at: float) -> float:
    """Return how long the handler ran, in ms; 0 if it did not begin."""
    return round(max(0.0, ended_at - (work.started_at or ended_at)) * 1000, 1)

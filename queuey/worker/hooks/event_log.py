"""The log of attempts that notifies the functions for events too."""

from __future__ import annotations

from typing import Any

from queuey.worker.handlers.attempt import Failed, Work
from queuey.worker.handlers.attempt_log import AttemptLog
from queuey.worker.hooks.events import NAMES, Events


class ReportedAttempts(AttemptLog):
    """The log of attempts that notifies the App too."""

    def __init__(self, events: Events, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._events = events

    def succeeded(self, work: Work, ended_at: float) -> None:
        """Log and report a success."""
        super().succeeded(work, ended_at)
        self._events.succeeded(work, _ran(work, ended_at))

    def failed(self, work: Work, failed: Failed, status: str, ended_at: float) -> None:
        """Log and report a failure."""
        super().failed(work, failed, status, ended_at)
        self._events.failed(work, failed, status, _ran(work, ended_at))


def attempt_log(events: Events | None, *arguments: Any, **options: Any) -> AttemptLog:
    """Return the log of attempts, which notifies the App if it wants to know an outcome."""
    if events is None or not events.any_of(NAMES[1:]):
        return AttemptLog(*arguments, **options)
    return ReportedAttempts(events, *arguments, **options)


def _ran(work: Work, ended_at: float) -> float | None:
    return None if work.started_at is None else max(0.0, ended_at - work.started_at)

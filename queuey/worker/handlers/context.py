"""The Context that a handler gets, and the exceptions Retry and Dead that it may raise."""

from __future__ import annotations

from typing import Any

from queuey.protocol.models import MAX_NOTE, YEAR, ProgressReport
from queuey.worker.handlers.attempt import Work


class Retry(Exception):
    """A handler raises this to run again. It spends an attempt.

    `after` is the exact number of seconds until then; without it the job's backoff decides. The job keeps `reason`.
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason)
        if after is not None and not 0 <= after <= YEAR:
            raise ValueError(f"Retry(after={after!r}): it must be between 0 and {YEAR} seconds")
        self.reason = reason
        self.after = after


class Dead(Exception):
    """A handler raises this to send the job to the dead-letter queue at once. The job keeps `reason`."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Context:
    """A handler's view of its job."""

    __slots__ = ("_log", "_work", "state")

    def __init__(self, work: Work, state: Any) -> None:
        self._work = work
        self._log: Any = None
        self.state = state
        """The value that the App's lifespan yielded; None without a lifespan, and in processes."""

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self._work.id

    @property
    def type(self) -> str:
        """The job's type."""
        return self._work.type

    @property
    def queue(self) -> str:
        """The job's queue."""
        return self._work.queue

    @property
    def attempt(self) -> int:
        """The number of this attempt; the first is 1."""
        return self._work.attempt

    @property
    def max_attempts(self) -> int:
        """The maximum number of attempts."""
        return self._work.max_attempts

    @property
    def token(self) -> str:
        """The token of the lease: `<claims>.<random>`."""
        return self._work.token

    @property
    def claims(self) -> int:
        """The number of claims of this job. It never falls: use it as a fencing token for what the handler writes."""
        return int(self._work.token.partition(".")[0])

    @property
    def cancelled(self) -> bool:
        """Whether the job has timed out or was cancelled. Long loops in threads should look at it."""
        return self._work.stopping is not None

    def progress(self, done: int | float, total: int | float | None = None, note: str | None = None) -> None:
        """Report how far the job has come: `done` of `total`, each from 0 to 10^15 in any unit.

        The note is cut to 200 characters. The first report is visible at once; later ones at most twice a second, and
        the last one counts. Raises ValueError.
        """
        numbers: tuple[tuple[str, Any], ...] = (("done", done), ("total", 0 if total is None else total))
        for name, value in numbers:
            if not isinstance(value, (int, float)) or not 0 <= value <= 1e15:
                raise ValueError(f"progress({name}={value!r}): it must be a number from 0 to 10^15")
        kept = note and note[:MAX_NOTE].encode(errors="replace").decode()  # half a character cannot be encoded
        report = ProgressReport(done, total, kept)
        if self._work.report is not None:
            self._work.report(self._work, report)

    @property
    def log(self) -> Any:
        """A structlog logger that adds the job's id, type and attempt."""
        if self._log is None:
            import structlog  # Slow to import, and few handlers in child processes log.

            work = self._work
            logger = structlog.get_logger("queuey.handler")
            self._log = logger.bind(job_id=work.id, type=work.type, attempt=work.attempt)
        return self._log

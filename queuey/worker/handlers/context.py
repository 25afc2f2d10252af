"""What a handler gets and raises: Context, Retry, Dead."""

from __future__ import annotations

from typing import Any

from queuey.protocol.models import MAX_NOTE, YEAR, ProgressReport
from queuey.worker.handlers.attempt import Work


class Retry(Exception):
    """Raised by a handler to be run again. It spends an attempt.

    `after`: seconds until then, exactly; without it the job's backoff decides. `reason` is kept with the job.
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason)
        if after is not None and not 0 <= after <= YEAR:
            raise ValueError(f"Retry(after={after!r}): it must be between 0 and {YEAR} seconds")
        self.reason = reason
        self.after = after


class Dead(Exception):
    """Raised by a handler to send the job to the dead-letter queue at once. `reason` is kept with the job."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Context:
    """What a handler may know about its job."""

    __slots__ = ("_log", "_work", "state")

    def __init__(self, work: Work, state: Any) -> None:
        self._work = work
        self._log: Any = None
        self.state = state
        """What the App's lifespan yielded; None without one, and in processes."""

    @property
    def job_id(self) -> str:
        return self._work.id

    @property
    def type(self) -> str:
        return self._work.type

    @property
    def queue(self) -> str:
        return self._work.queue

    @property
    def attempt(self) -> int:
        """1 at the first."""
        return self._work.attempt

    @property
    def max_attempts(self) -> int:
        return self._work.max_attempts

    @property
    def token(self) -> str:
        """The lease's token: `<claims>.<random>`."""
        return self._work.token

    @property
    def claims(self) -> int:
        """Rises with every claim of the job and never falls: a fencing number for what the handler writes to."""
        return int(self._work.token.partition(".")[0])

    @property
    def cancelled(self) -> bool:
        """True once the result is no longer wanted: timed out or cancelled. Long loops in threads should look."""
        return self._work.stopping is not None

    def progress(self, done: int | float, total: int | float | None = None, note: str | None = None) -> None:
        """Tell how far the job has come: `done` of `total`, in whatever it counts, 0 to 10^15, and a note, of which 200
        characters are kept. It is seen at once, and from then on twice a second at most: the last one counts.

        Raises ValueError.
        """
        numbers: tuple[tuple[str, Any], ...] = (("done", done), ("total", 0 if total is None else total))
        for name, value in numbers:
            if not isinstance(value, (int, float)) or not 0 <= value <= 1e15:
                raise ValueError(f"progress({name}={value!r}): it must be a number from 0 to 10^15")
        kept = note and note[:MAX_NOTE].encode(errors="replace").decode()  # half a character would stop its way
        report = ProgressReport(done, total, kept)
        if self._work.report is not None:
            self._work.report(self._work, report)

    @property
    def log(self) -> Any:
        """A structlog logger that bears the job's id, type and attempt."""
        if self._log is None:
            import structlog  # Slow to import, and few handlers in child processes log.

            work = self._work
            logger = structlog.get_logger("queuey.handler")
            self._log = logger.bind(job_id=work.id, type=work.type, attempt=work.attempt)
        return self._log

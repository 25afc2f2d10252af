"""The retry policy of a handler: what its exceptions mean for its job."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from queuey.errors import StartupError
from queuey.protocol.models import YEAR, Backoff
from queuey.worker.handlers.attempt import Failed, Work
from queuey.worker.handlers.context import Dead, Retry, Snooze

Exceptions = type[BaseException] | Iterable[type[BaseException]]
"""A class of exceptions, or several."""
Wait = Callable[[int, BaseException], float]
"""A function that returns the seconds until the next attempt, after this many failed attempts and this error."""
_OWN: Final = (Retry, Snooze, Dead)


class RetryPolicy(msgspec.Struct, frozen=True):
    """The policy of one handler.

    An error of `dead_on` makes the job dead at once. If there is a `retry_on`, so does every error that is not of it.
    `wait` replaces the backoff of a job that has none of its own. A group of exceptions counts as each of its members.
    """

    job_type: str
    retry_on: tuple[type[BaseException], ...] | None = None
    dead_on: tuple[type[BaseException], ...] = ()
    wait: Wait | None = None

    def apply(self, failed: Failed, error: BaseException, work: Work) -> None:
        """Decide about a job whose handler raised this error."""
        is_wanted = self.retry_on is None or _matches(error, self.retry_on)
        failed.dead = not is_wanted or _matches(error, self.dead_on)
        if self.wait is not None and not failed.dead and work.backoff is None:
            failed.after = self._wait(self.wait, error, work)

    def _wait(self, wait: Wait, error: BaseException, work: Work) -> float | None:
        """Return the seconds that the function says; None, for the default backoff, if it fails to say them."""
        try:
            seconds = float(wait(work.attempt, error))
            if 0 <= seconds <= YEAR:
                return seconds
            reason = f"it returned {seconds!r}, which is not between 0 and {YEAR} seconds"
        except Exception as failure:
            reason = f"{type(failure).__qualname__}: {failure}"
        from queuey import log  # late: commands that import an App need not wait for structlog

        log.get(__name__).warning(
            "backoff_failed", type=self.job_type, job_id=work.id, attempt=work.attempt, error=reason
        )
        return None


def policy_of(
    type: str, retry_on: Exceptions | None, dead_on: Exceptions | None, backoff: Backoff | Wait | None
) -> RetryPolicy | None:
    """Return the policy of a handler; None if each error is retried by a plain backoff. Raises StartupError."""
    wait = None if backoff is None or isinstance(backoff, Backoff) else backoff
    if wait is not None and not callable(wait):
        raise StartupError(f"backoff={backoff!r}: pass a Backoff, or a function of (attempt, error)")
    if retry_on is None and dead_on is None and wait is None:
        return None
    retried = None if retry_on is None else _classes("retry_on", retry_on)
    return RetryPolicy(type, retried, _classes("dead_on", dead_on or ()), wait)


def _classes(name: str, given: Exceptions) -> tuple[type[BaseException], ...]:
    try:
        classes = (given,) if isinstance(given, type) else tuple(given)
    except TypeError:
        classes = (given,)  # type: ignore[assignment]
    for each in classes:
        if not _is_exception(each):
            raise StartupError(f"{name}={each!r}: pass a class of exceptions, or several")
        if issubclass(each, _OWN):
            raise StartupError(
                f"{name}={each.__qualname__}: the handler that raises it has decided already; leave it out"
            )
    return classes


def _is_exception(given: object) -> bool:
    return isinstance(given, type) and issubclass(given, BaseException)


def _matches(error: BaseException, classes: tuple[type[BaseException], ...]) -> bool:
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, classes):
        return error.subgroup(classes) is not None if classes else False
    return isinstance(error, classes)

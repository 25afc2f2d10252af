"""The lines that a handler logs by `ctx.log`, which are kept with its job."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from threading import Lock
from typing import Any, Final, Protocol, Self

from queuey.protocol.models import LogLevel
from queuey.protocol.models.labels import logged
from queuey.protocol.stored import job_log

LEVELS: Final[Mapping[str, LogLevel]] = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "warn": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
    "fatal": "critical",
}
"""The level of a line, by the method that has logged it. Those of other methods are `info`."""
OF_ALL_LINES: Final = frozenset(
    {"event", "timestamp", "level", "logger", "exception", "exc_info"}
    | {"job_id", "type", "attempt", "request_id", "tenant"}
)
"""The fields that a line's text leaves out, or has elsewhere."""

_PLAIN = re.compile(r"[^\s=\"']+")
_making = Lock()


class JobLines:
    """The last lines of one attempt, as many as are kept. Any thread may add to them."""

    __slots__ = ("_bytes", "_lines", "_lock")

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._bytes = 0
        self._lock = Lock()

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the lines of a text, as a child process has sent it."""
        lines = cls()
        for line in text.split("\n")[:-1]:
            lines.add(line)
        return lines

    def add(self, line: str) -> None:
        """Add a line. The oldest ones go, if there are too many."""
        with self._lock:
            self._lines.append(line)
            self._bytes = job_log.cut(self._lines, self._bytes + job_log.bytes_of(line))

    def text(self) -> str:
        """Return them as the store keeps them (queuey.protocol.stored.job_log)."""
        with self._lock:
            return job_log.joined(self._lines)


class Attempted(Protocol):
    """An attempt whose handler logs. `report` gets its lines each time that there is a new one."""

    id: str
    type: str
    token: str
    attempt: int
    report: Callable[[Any, Any], None] | None
    metadata: dict[str, str] | None
    lines: JobLines | None


def logger_of(work: Attempted) -> Any:
    """Return a structlog logger that adds the job's id, type and attempt, and keeps what it logs with the job."""
    import structlog  # late: slow to import, and few handlers in child processes log

    from queuey import log

    with _making:
        lines = work.lines = work.lines or JobLines()
    steps = log.with_step(partial(_keep, work, lines))
    logger = structlog.wrap_logger(None, steps, logger_factory_args=("queuey.handler",))
    return logger.bind(job_id=work.id, type=work.type, attempt=work.attempt, **logged(work.metadata))


def _keep(
    work: Attempted, lines: JobLines, _: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Keep a line, as one of the steps of structlog. It changes nothing."""
    level = LEVELS.get(method, "info")
    lines.add(job_log.encode_line(work.token, work.attempt, time.time_ns() // 1_000_000, level, _text(event)))
    if work.report is not None:
        work.report(work, lines)
    return event


def _text(event: MutableMapping[str, Any]) -> str:
    fields = [f"{name}={_shown(value)}" for name, value in event.items() if name not in OF_ALL_LINES]
    text = " ".join([_shown(event.get("event", ""), quoted=False), *fields])
    trace = event.get("exception")
    return f"{text}\n{trace}" if isinstance(trace, str) else text


def _shown(value: object, *, quoted: bool = True) -> str:
    try:
        if isinstance(value, str) and (not quoted or _PLAIN.fullmatch(value)):
            return value
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"  # a value whose repr raises

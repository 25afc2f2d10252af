"""Structured logging to stderr: JSON lines, or readable lines on a terminal.

    log = get(__name__)
    log.info("job_failed", job_id=job_id, type=job_type, attempt=2, error="timeout")

An event is a short snake_case name; everything else is a keyword field. Success is logged at debug, because a
line costs some 20 microseconds; check `debug_enabled()` before computing fields for one. Lines of the standard
library's logging (uvicorn, redis, asyncio, handlers) are written in the same way, with the same fields.

No payload, result, key or password is logged: fields with such names are redacted, and so is the user part of
each URL. Values are escaped, so that none can start a new line or send the terminal a control sequence.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from datetime import datetime
from typing import Any, Final, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from queuey.protocol.credentials import redact_urls

SECRET_FIELDS: Final = frozenset(
    {
        "api_key",
        "api_keys",
        "authorization",
        "cookie",
        "passwd",
        "password",
        "payload",
        "result",
        "secret",
        "x_api_key",
    }
)
REDACTED: Final = "***"
MAX_TEXT: Final = 4_000
MAX_TRACEBACK: Final = 20_000
MAX_INNER_TEXT: Final = 200
MAX_ITEMS: Final = 50
MAX_NESTING: Final = 2
MAX_NUMBER: Final = 10**40
"""The bound for plain integers. Python refuses to print integers of thousands of digits, so larger ones use `repr`."""

EVENT_WIDTH: Final = 30
"""The width of an event's name on a console, except in a terminal, so that fields stand below each other."""
SHORT_ID: Final = 6
"""The number of the last characters of an id that are shown in a terminal."""

_HOLDERS: Final = (dict, list, tuple, set, frozenset, msgspec.Struct, msgspec.Raw, bytes, bytearray, memoryview)
"""Types that may contain a payload or a key. Only their names are shown, and those of containers nested too deep."""
_FIRST: Final = ("timestamp", "level", "event", "logger")
_NOISY: Final = ("uvicorn", "redis", "asyncio", "concurrent", "httpx", "httpcore", "watchfiles")
"""Libraries whose INFO records repeat our events, and whose DEBUG records may contain payloads and keys."""

_state = {"debug": False}


def get(name: str) -> FilteringBoundLogger:
    """Return the logger of a module. It follows `configure`, even if that is called later."""
    return cast(FilteringBoundLogger, structlog.get_logger(name))


def debug_enabled() -> bool:
    """Return whether debug events are written. It is cheap enough for every job."""
    return _state["debug"]


def configure(
    level: str = "info",
    format: str = "auto",
    stream: TextIO | None = None,
    fields: Mapping[str, object] | None = None,
) -> None:
    """Write every event of this process at `level` or above to `stream` (default: stderr), each with these fields.

    `format` is json, console or auto: console when the stream is a terminal. Records of the standard library's
    logging appear from `level` on too, but never below INFO: to see debug records of a module, set the level of
    its logger. If the stream cannot be written to, the line is lost, and no job stops.
    """
    out = stream or sys.stderr
    terminal = out.isatty()
    threshold = logging.getLevelNamesMapping()[level.upper()]
    written = "console" if format == "console" or (format == "auto" and terminal) else "json"
    steps = _steps(written, terminal, dict(fields or {}))
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _add_logger_name, *steps],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda name="": _Sink(stream, name),
        cache_logger_on_first_use=False,
    )
    _route_standard_logging(_Sink(stream), threshold, steps)
    _state["debug"] = threshold <= logging.DEBUG


def with_step(step: Processor) -> list[Processor]:
    """Return the processors of structlog with one more, which sees each event as it is written: without secrets."""
    steps: list[Processor] = structlog.get_config()["processors"]
    at = steps.index(_clean_fields) + 1 if _clean_fields in steps else len(steps) - 1
    return [*steps[:at], step, *steps[at:]]


class _Sink:
    """Write finished lines. stderr is looked up each time, because it may have been replaced."""

    def __init__(self, stream: TextIO | None, name: str = "") -> None:
        self.name = name
        self._stream = stream

    def write(self, line: str) -> None:
        try:
            (self._stream or sys.stderr).write(line + "\n")
        except (OSError, ValueError):  # a closed pipe, a full disk, a closed file
            return

    debug = info = warning = error = critical = write


class _Handler(logging.Handler):
    def __init__(self, sink: _Sink, formatter: logging.Formatter) -> None:
        super().__init__()
        self._sink = sink
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write(self.format(record))
        except Exception:
            self.handleError(record)


def _route_standard_logging(sink: _Sink, threshold: int, steps: list[Processor]) -> None:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars, _add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *steps],
    )
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(old)
    root.addHandler(_Handler(sink, formatter))
    root.setLevel(max(threshold, logging.INFO))
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.getLogger("uvicorn.access").disabled = True
    logging.captureWarnings(True)


def _steps(format: str, terminal: bool, fields: Mapping[str, object]) -> list[Processor]:
    """Return the processors of every event, from its fields to its line."""
    steps: list[Processor] = [
        lambda _, __, event: {**fields, **event},
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _clean_fields,
    ]
    if format == "json":
        return [*steps, structlog.processors.JSONRenderer(json.dumps)]
    console = structlog.dev.ConsoleRenderer(
        colors=terminal,
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
        pad_event_to=0 if terminal else EVENT_WIDTH,
    )
    return [*steps, *([_fit_terminal] if terminal else []), _escape_fields, console]


def _add_logger_name(logger: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    name = logger.name if record is None else record.name
    if name:
        event["logger"] = name
    return event


def _clean_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Order the fields, and remove from them whatever is secret, huge, or not JSON."""
    trace = event.pop("exception", None)
    ordered = {name: event.pop(name) for name in _FIRST if name in event}
    fields = {**ordered, **event}
    cleaned = dict(_clean_items(fields, MAX_NESTING))
    if trace is not None:
        cleaned["exception"] = _shorten(redact_urls(str(trace)), MAX_TRACEBACK)
    return cleaned


def _clean_items(fields: dict[Any, Any], nesting: int) -> Iterator[tuple[str, object]]:
    for key, value in list(fields.items())[:MAX_ITEMS]:
        name = _shorten(str(key), MAX_INNER_TEXT)
        is_secret = name.lower().replace("-", "_") in SECRET_FIELDS and value is not None
        yield name, REDACTED if is_secret else _clean(value, nesting)


def _clean(value: object, nesting: int) -> object:
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < MAX_NUMBER):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no NaN and no infinity
    limit = MAX_TEXT if nesting == MAX_NESTING else MAX_INNER_TEXT
    if isinstance(value, str):
        return _shorten(redact_urls(value), limit)
    if nesting and isinstance(value, dict):
        return dict(_clean_items(value, nesting - 1))
    if nesting and isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item, nesting - 1) for item in list(value)[:MAX_ITEMS]]
    if isinstance(value, _HOLDERS) or is_dataclass(value):
        return f"<{type(value).__name__}>"
    try:
        return _shorten(redact_urls(repr(value)), limit)
    except Exception as error:
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"


def _shorten(text: str, limit: int) -> str:
    """Keep the start and the end: messages have their point at the start, tracebacks at the end."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} ...{len(text) - 2 * half} more characters... {text[-half:]}"


def _fit_terminal(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make the event fit a line: the local time of day, ids without their first characters, durations with their unit.

    A warning or an error keeps its job's id, which its reader may want to look up.
    """
    moment = datetime.fromisoformat(event.pop("timestamp")).astimezone()
    fitted: EventDict = {"timestamp": moment.strftime("%H:%M:%S.%f")[:-3]}
    is_calm = event.get("level") in ("debug", "info")
    for name, value in event.items():
        if name == "job_id" and is_calm and isinstance(value, str):
            fitted[name] = f"…{value[-SHORT_ID:]}"
        elif name.endswith("_ms") and isinstance(value, (int, float)):
            fitted[name.removesuffix("_ms")] = f"{value / 1000:.3g}s" if value >= 1000 else f"{value:.3g}ms"
        elif name != "logger" or not str(value).startswith("queuey."):
            fitted[name] = value
    return fitted


def _escape_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make the console as safe as JSON. A traceback keeps its lines, indented, so that none looks like an event."""
    trace = event.pop("exception", None)
    escaped = {_escape(key): _escape(value) if isinstance(value, str) else value for key, value in event.items()}
    if trace is not None:
        escaped["exception"] = "\n".join("    " + _escape(line) for line in trace.split("\n"))
    return escaped


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

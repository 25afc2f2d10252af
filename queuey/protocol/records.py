"""The text of `job:<id>` and `state:<id>`, and its conversion to a Job of the HTTP API.

Both begin with a header line of `letter=value` fields; docs/protocol.md lists the letters, and lua/include/state.lua
also reads them. Fields equal to the defaults of the *format*, below, are not stored. These defaults never change and
do not depend on settings.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypedDict, cast

import msgspec
from msgspec import Raw, Struct

from queuey.protocol.models import (
    NULL,
    Attempt,
    Checkpoint,
    Definition,
    Job,
    JobError,
    LeasedJob,
    Priority,
    Progress,
    ProgressReport,
    Status,
    UniqueKey,
    Until,
)
from queuey.protocol.stored.job_errors import ErrorEntry

DEFAULT_QUEUE: Final = "default"
DEFAULT_MAX_ATTEMPTS: Final = 5
DEFAULT_RETENTION_MS: Final = 3_600_000
DEFAULT_DEDUPE_TTL_MS: Final = 86_400_000
MAX_CRASHES: Final = 10
UNIQUE: Final = "u:"
"""The text before the key of a unique job in the store. A dedupe key as base64url has no colon."""
UNTIL: Final[Mapping[str, Until]] = {"": "ttl", "s": "started", "f": "finished"}
SUSPECT: Final = 2
"""A job with this many crashes is a suspect: it may be the cause of them. As in lua/include/state.lua."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIELD = re.compile(r"([A-Za-z])=([\w.:-]+)", re.ASCII)
_NOT_BEGUN: Final = ("expired", "unknown_type")
"""The kinds of errors of jobs that end before an attempt has begun."""
_STATUSES: Final[dict[str, Status]] = {
    "w": "queued",
    "r": "running",
    "s": "succeeded",
    "d": "dead_letter",
    "c": "cancelled",
}

_TYPE_FIRST: Final = '{"type":"'
"""The first characters of the JSON part of a definition. A name of a type follows, in which nothing is escaped."""


class OnConflict(Struct, array_like=True, frozen=True):
    """The way of a unique job if another one holds its key. With a wait, a job that waits is due again after it."""

    do: Literal["return", "reject", "replace"] = "return"
    wait_ms: int = 0
    max_wait_ms: int = 0


class NewJob(Struct, array_like=True):
    """A job as the enqueue script takes it. Durations and times are integer milliseconds; 0 means none."""

    id: str
    queue: str
    priority: Priority
    head: str
    body: str
    delay_ms: int = 0
    run_at_ms: int = 0
    dedupe: str = ""
    """The key as base64url, behind UNIQUE if the job is unique; '' = none."""
    dedupe_ttl_ms: int = DEFAULT_DEDUPE_TTL_MS
    unique: OnConflict | None = None

    @property
    def is_due(self) -> bool:
        """Whether the job may start at once."""
        return not self.delay_ms and not self.run_at_ms

    @property
    def size(self) -> int:
        """The approximate number of bytes in a call."""
        body = len(self.body) if self.body.isascii() else len(self.body.encode())
        return 100 + len(self.head) + body


class NewJobs(Struct):
    """New jobs that have all but their ids and bodies in common. They are due at once and have no dedupe keys."""

    queue: str
    priority: Priority
    head: str
    ids: list[str]
    bodies: list[str]
    size: int
    """The approximate number of bytes in a call."""

    is_due = True


def singly(item: NewJob | NewJobs) -> Sequence[NewJob]:
    """Return the jobs of an item one by one."""
    if isinstance(item, NewJob):
        return (item,)
    return [
        NewJob(job_id, item.queue, item.priority, item.head, body)
        for job_id, body in zip(item.ids, item.bodies, strict=True)
    ]


def count_of(item: NewJob | NewJobs) -> int:
    """Return the number of jobs of an item."""
    return 1 if isinstance(item, NewJob) else len(item.ids)


def type_of_each(item: NewJob | NewJobs) -> list[str]:
    """Return the type of each new job of an item, with which its body begins."""
    bodies = item.bodies if isinstance(item, NewJobs) else (item.body,)
    return [body[len(_TYPE_FIRST) : body.find('"', len(_TYPE_FIRST))] for body in bodies]


def types_of(items: Iterable[NewJob | NewJobs]) -> set[str]:
    """Return the types of new jobs."""
    return {name for item in items for name in type_of_each(item)}


class StoredJob(Struct, array_like=True):
    """A job as the get script returns it."""

    definition: str
    state: str
    lease_expires_ms: int
    due_ms: int
    progress: str = ""
    """The last progress as `<at ms> <JSON>`, or '' if none was reported under the current lease."""


def encode_key(dedupe_key: str) -> str:
    """Return a dedupe key as base64url without padding, for a header or the name of a key in the store."""
    return urlsafe_b64encode(dedupe_key.encode()).decode().rstrip("=")


def decode_key(encoded: str) -> str:
    """Return the dedupe key that `encode_key` encoded."""
    return urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()


def job_head(
    *,
    queue: str = DEFAULT_QUEUE,
    priority: Priority = "default",
    max_attempts: int = DEFAULT_MAX_ATTEMPTS,
    retention_ms: int = DEFAULT_RETENTION_MS,
    dedupe: str = "",
    dedupe_ttl_ms: int = DEFAULT_DEDUPE_TTL_MS,
    expires_ms: int = 0,
    until: str = "",
) -> str:
    """Return the fields of a definition's header without its times, which the script adds. `until`: a key of UNTIL."""
    fields = []
    if queue != DEFAULT_QUEUE:
        fields.append(f"q={queue}")
    if priority != "default":
        fields.append(f"l={priority}")
    if max_attempts != DEFAULT_MAX_ATTEMPTS:
        fields.append(f"m={max_attempts}")
    if retention_ms != DEFAULT_RETENTION_MS:
        fields.append(f"t={retention_ms}")
    if expires_ms:
        fields.append(f"x={expires_ms}")
    if dedupe:
        fields.append(f"k={dedupe}")
        if dedupe_ttl_ms != DEFAULT_DEDUPE_TTL_MS:
            fields.append(f"e={dedupe_ttl_ms}")
    if until:
        fields.append(f"U={until}")
    return " ".join(fields)


def parse_fields(text: str) -> dict[str, str]:
    """Return the fields of a header line, including unknown letters."""
    return dict(FIELD.findall(text.partition("\n")[0]))


decode_definition = msgspec.json.Decoder(Definition).decode
"""Decodes the JSON part of a stored definition."""


def parse_definition(text: str) -> tuple[dict[str, str], Definition]:
    """Return the header's fields of a stored definition, and its JSON part."""
    head, _, body = text.partition("\n")
    return header_fields(head), decode_definition(body)


class JobFields(TypedDict):
    """The fields that every view of a job takes from its definition: a Job, a LeasedJob, a worker's Work."""

    type: str
    queue: str
    payload: Raw
    max_attempts: int
    timeout: float | None
    traceparent: str | None
    tags: tuple[str, ...]
    metadata: dict[str, str] | None
    batch_key: str | None


def job_fields(head: Mapping[str, str], definition: Definition) -> JobFields:
    """Return the fields of a stored definition, as parse_definition returns it, for the views of a job."""
    return {  # a literal takes half the time of a call, for every job
        "type": definition.type,
        "queue": head.get("q", DEFAULT_QUEUE),
        "payload": definition.payload,
        "max_attempts": int(head.get("m", DEFAULT_MAX_ATTEMPTS)),
        "timeout": definition.timeout,
        "traceparent": definition.traceparent,
        "tags": definition.tags,
        "metadata": definition.metadata,
        "batch_key": definition.batch_key,
    }


def job_fields_of(job: Job | LeasedJob) -> JobFields:
    """Return the same fields from a view of a job."""
    return cast(JobFields, {name: getattr(job, name) for name in JobFields.__annotations__})


_TYPE = re.compile(r'\n\{"type":"([^"\\]*)"')


def type_of(definition: str) -> str:
    """Return the type of a stored job, with which its body begins; '' if the definition is damaged."""
    found = definition.find("\n" + _TYPE_FIRST)
    start = found + 1 + len(_TYPE_FIRST)
    return definition[start : definition.find('"', start)] if found >= 0 else ""


def names_of(definition: str) -> tuple[str, str]:
    """Return type and queue from the first kilobyte of a definition. The type is '' if it comes later."""
    found = _TYPE.search(definition)
    return found[1] if found else "", parse_fields(definition).get("q", DEFAULT_QUEUE)


def header_fields(head: str) -> dict[str, str]:
    """Return the fields of a header line that is nothing but a header."""
    if " " not in head and head.startswith("r="):
        return {"r": head[2:]}  # most headers have only this field
    return dict(FIELD.findall(head))


def to_job(job_id: str, stored: StoredJob) -> Job:
    """Return a stored job as the answer to `GET /v1/jobs/{id}`."""
    head, definition = parse_definition(stored.definition)
    state_head, _, rest = stored.state.partition("\n")
    state = dict(FIELD.findall(state_head))
    result, *error_lines = rest.split("\n")
    status = _STATUSES[state.get("s", "w")]
    checkpoint = _checkpoint(state, result)
    scheduled = status == "queued" and stored.due_ms >= 0
    created = int(head.get("c", head["r"]))
    errors = [_parse_error(line, int(state.get("f", created))) for line in error_lines]
    due = stored.due_ms if scheduled else int(head["r"])
    key = head.get("k", "")
    return Job(
        **job_fields(head, definition),
        id=job_id,
        priority=cast(Priority, head.get("l", "default")),
        status="scheduled" if scheduled else status,
        dedupe_key=decode_key(key) if key and not key.startswith(UNIQUE) else None,
        unique=_unique(key, head) if key.startswith(UNIQUE) else None,
        attempt=_attempt(state),
        attempts=int(state.get("a", 0)),
        crashes=int(state.get("x", 0)),
        created_at=from_ms(created),
        run_at=from_ms(due) if scheduled or due != created else None,
        started_at=_time(state.get("b")),
        finished_at=_time(state.get("f")),
        lease_expires_at=from_ms(stored.lease_expires_ms) if stored.lease_expires_ms >= 0 else None,
        last_error=errors[-1].message if errors else None,
        last_error_attempt=errors[-1].attempt if errors else None,
        errors=errors,
        result=Raw(result.encode()) if result and not checkpoint else NULL,
        progress=_parse_progress(stored.progress) if stored.progress else None,
        worker=state.get("w"),
        expires_at=from_ms(created + int(head["x"])) if "x" in head else None,
        attempts_log=_attempts_log(state, errors),
        released=int(state.get("R", 0)),
        checkpoint=checkpoint,
        snoozed=int(state.get("S", 0)),
    )


def _unique(key: str, head: Mapping[str, str]) -> UniqueKey:
    ttl = int(head.get("e", DEFAULT_DEDUPE_TTL_MS)) / 1000
    return UniqueKey(decode_key(key.removeprefix(UNIQUE)), UNTIL[head.get("U", "")], ttl)


def _checkpoint(state: Mapping[str, str], line: str) -> Checkpoint | None:
    """Return the checkpoint of a job that has one in the line of its result."""
    if "K" not in state or state.get("s") == "s":  # an older version keeps the letter when it writes the result
        return None
    return Checkpoint(from_ms(int(state["K"])), len(line.encode()))


def _attempt(state: Mapping[str, str]) -> int:
    """Return the number of the attempt that runs or ran last; 0 if none has begun."""
    # A replay sets the crashes and the snoozes to 0, not the outcome.
    crashed = state.get("o") == "x" and int(state.get("x", 0)) > 0
    snoozed = state.get("o") == "n" and int(state.get("S", 0)) > 0
    return int(state.get("a", 0)) + (state.get("s") in ("r", "s") or crashed or snoozed)


def _attempts_log(state: dict[str, str], errors: list[JobError]) -> list[Attempt]:
    """Return the attempts, without those that were released. A job that expired before its first attempt has none."""
    starts = [int(start) for start in state["g"].split(".")] if "g" in state else []
    known = [0] * (len(errors) - len(starts)) + starts[-len(errors) :] if errors else []
    log = [
        Attempt(error.attempt, from_ms(start) if start else None, error.at, error.worker, error.message)
        for error, start in zip(errors, known, strict=True)
        if start or error.kind not in _NOT_BEGUN  # a pull worker may use these kinds too
    ]
    if state.get("s") in ("r", "s"):
        attempt = int(state.get("a", 0)) + 1
        log.append(Attempt(attempt, _time(state.get("b")), _time(state.get("f")), state.get("w"), None))
    return log


def from_ms(millis: int) -> datetime:
    """Return a time of the store as a datetime in UTC."""
    return _EPOCH + timedelta(milliseconds=millis)


def _time(millis: str | None) -> datetime | None:
    return from_ms(int(millis)) if millis else None


_decode_progress = msgspec.json.Decoder(ProgressReport).decode


def _parse_progress(text: str) -> Progress:
    at, _, body = text.partition(" ")
    report = _decode_progress(body)
    return Progress(report.done, report.total, report.note, from_ms(int(at)))


UNREADABLE: Final = (msgspec.DecodeError, ValueError, KeyError, RecursionError)
"""The exceptions of reading a stored job, or one of its errors, that Queuey has not written."""
UNKNOWN_KIND: Final = "unknown"
MAX_UNKNOWN: Final = 1000
"""The maximum number of characters to show of an error that cannot be read."""

_decode_error = msgspec.json.Decoder(ErrorEntry).decode


def _parse_error(line: str, else_at: int) -> JobError:
    """Return a stored error. A line in another format, which an import may bring, is shown unchanged.

    `else_at` is the time in ms of an error that has none.
    """
    at, _, body = line.partition(" ")
    try:
        time = from_ms(int(at))
    except (ValueError, OverflowError):
        return JobError(from_ms(else_at), 0, UNKNOWN_KIND, line[:MAX_UNKNOWN])
    try:
        error = _decode_error(body)
    except UNREADABLE:
        return JobError(time, 0, UNKNOWN_KIND, body[:MAX_UNKNOWN])
    return JobError(
        at=time,
        attempt=error.attempt,
        kind=error.kind,
        message=error.message,
        detail=error.detail,
        worker=error.worker,
    )

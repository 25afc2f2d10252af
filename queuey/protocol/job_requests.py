"""Requests for new jobs, as clients build them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from types import NoneType
from typing import Any, Final, TypedDict

import msgspec
from msgspec import Raw, Struct

from queuey.protocol import ids
from queuey.protocol.json import strict
from queuey.protocol.models import Backoff, Batch, Debounce, JobRequest, PreviewRequest, Priority, Throttle, Unique

SECONDS: Final = ("dedupe_ttl", "timeout", "delay", "expires_in", "retention")
"""The options that are durations."""
KEYS: Final = {"unique": Unique, "debounce": Debounce, "throttle": Throttle}
"""The options that make a job unique."""
SCHEDULE_SECONDS: Final = ("every", "catch_up_window", "jitter")
"""The fields of a schedule that are durations."""


_carried: Final[ContextVar[Mapping[str, str]]] = ContextVar("queuey_metadata")


class JobOptions(TypedDict, total=False):
    """The options of a new job, beside its type and payload. Durations are in seconds. See docs/http.md."""

    id: str
    queue: str
    priority: Priority
    dedupe_key: str
    dedupe_ttl: float
    max_attempts: int
    timeout: float
    delay: float
    run_at: datetime
    expires_in: float
    backoff: Backoff
    retention: float
    traceparent: str
    tags: Sequence[str]
    metadata: Mapping[str, str]
    unique: Unique
    debounce: Debounce
    throttle: Throttle


def job_request(type: str, payload: Any, options: JobOptions, batch: Batch | None = None) -> JobRequest:
    """Return a request that has an id, so that sending it again is safe. Raises ValueError for NaN and infinities."""
    return with_id(JobRequest(type, Raw(strict.encode(payload, "/payload")), **options, batch=batch))


@contextmanager
def job_metadata(**entries: str | None) -> Iterator[None]:
    """Give all jobs that are enqueued within the block these entries of metadata, such as the id of a request.

    An entry that is None is left out. A job's own metadata, and that of an inner block, go before it. Raises TypeError
    for an entry that is not a string.
    """
    _check_metadata({key: text for key, text in entries.items() if text is not None})
    token = _carried.set({**_carried.get({}), **{key: text for key, text in entries.items() if text is not None}})
    try:
        yield
    finally:
        _carried.reset(token)


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a dict of strings, not {metadata!r:.100}.")
    for key, text in metadata.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"metadata has strings only, not {key}={text!r:.100}. Pass {key}=str(...).")


def _check(request: object) -> None:
    if not isinstance(request, JobRequest):
        raise TypeError(
            f"{request!r:.100} is not a queuey.models.JobRequest. Make one, or call request(payload) of a handler."
        )
    if request.dedupe_key is not None and not isinstance(request.dedupe_key, str):
        raise TypeError(f"dedupe_key must be a string, not {request.dedupe_key!r}.")
    for name, kind in KEYS.items():
        if not isinstance(getattr(request, name), (kind, NoneType)):
            raise TypeError(f"{name} must be a queuey.{kind.__name__}, not {getattr(request, name)!r:.100}.")
    if request.batch is not None:
        _check_batch(request.batch)
    for name in SECONDS:
        check_seconds(name, getattr(request, name))
    if isinstance(request.tags, str):  # it is a sequence too, of its characters
        raise TypeError(f"tags must be a list of strings, not {request.tags!r}. Pass [{request.tags!r}].")
    if request.metadata is not None:
        _check_metadata(request.metadata)


def _check_batch(batch: object) -> None:
    if not isinstance(batch, Batch):
        raise TypeError(f"batch must be a queuey.Batch, not {batch!r:.100}. Pass Batch(key, max_size, max_wait).")
    if not isinstance(batch.key, str):
        raise TypeError(f"Batch: key must be a string, not {batch.key!r:.100}.")
    if not isinstance(batch.max_size, int):
        raise TypeError(f"Batch: max_size must be a whole number, not {batch.max_size!r:.100}.")
    check_seconds("max_wait", batch.max_wait)


def with_id(request: JobRequest) -> JobRequest:
    """Give the request an id if it has none, and the metadata of the context, and return it.

    Raises TypeError for an option of another type.
    """
    _check(request)
    if carried := _carried.get(None):
        request.metadata = {**carried, **(request.metadata or {})}
    if request.id is None:
        request.id = ids.new_id(request.bucket_key)
    return request


def request_json(request: JobRequest) -> bytes:
    """Return the JSON of the fields that are set, since an older server refuses fields that it does not know."""
    return strict.encode(_given(request))


def schedule_json(schedule: PreviewRequest) -> bytes:
    """Return the JSON of the fields of a schedule and of its job that are set. The job has no id: each tick makes one.

    Raises TypeError for a field of another type, and ValueError for NaN and infinities.
    """
    fields = _given(schedule)
    for name in SCHEDULE_SECONDS:
        check_seconds(name, getattr(schedule, name))
    if schedule.job is not None:
        _check(schedule.job)
        fields["job"] = {name: value for name, value in _given(schedule.job).items() if name != "id"}
    return strict.encode(fields)


def _given(request: Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}


def check_seconds(name: str, value: object) -> None:
    """Raise TypeError if a duration is neither a number nor None."""
    if value is not None and not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}. Pass the total_seconds() of a timedelta.")

"""Requests for new jobs, as clients build them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

import msgspec
from msgspec import Raw

from queuey.protocol import ids
from queuey.protocol.models import Backoff, JobRequest, Priority

_encode = msgspec.json.Encoder().encode


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


def job_request(type: str, payload: Any, options: JobOptions) -> JobRequest:
    """Return a request that has an id, so that sending it again is safe."""
    return with_id(JobRequest(type, Raw(_encode(payload)), **options))


def with_id(request: JobRequest) -> JobRequest:
    """Give the request an id if it has none, and return it."""
    if request.id is None:
        request.id = ids.new_id(request.dedupe_key)
    return request


def request_json(request: JobRequest) -> bytes:
    """Return the JSON of the fields that are set, since an older server refuses fields that it does not know."""
    fields = msgspec.structs.asdict(request).items()
    return _encode({name: value for name, value in fields if value is not None})

"""New jobs, as programs describe them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

import msgspec
from msgspec import Raw

from queuey.protocol import ids
from queuey.protocol.models import Backoff, JobRequest, Priority

_encode = msgspec.json.Encoder().encode


class JobOptions(TypedDict, total=False):
    """What may be said of a new job beside its type and payload; durations are seconds. See docs/http.md."""

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
    """A request with an id of its own, so that sending it again is safe."""
    return with_id(JobRequest(type, Raw(_encode(payload)), **options))


def with_id(request: JobRequest) -> JobRequest:
    """The same, given an id if it has none."""
    if request.id is None:
        request.id = ids.new_id(request.dedupe_key)
    return request


def request_json(request: JobRequest) -> bytes:
    """Its fields that say something: a server that is older than this program refuses those that it does not know."""
    fields = msgspec.structs.asdict(request).items()
    return _encode({name: value for name, value in fields if value is not None})

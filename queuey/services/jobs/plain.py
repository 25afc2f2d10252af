"""The short way from the text of a request to a job, for requests with nothing but the fields of PlainRequest.

It makes the job that `Submission.parse` and `new_job` make, without a look at what is not there. Whatever it does not
make a job of is for them, which say what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw, Struct

from queuey.protocol import ids
from queuey.protocol.json_checks import check_payload, check_text
from queuey.protocol.models import NAME_PATTERN, NULL, Priority
from queuey.protocol.records import NewJob, job_head

MAX_KEPT: Final = 1024
"""Maximum number of pairs of names, and of headers of definitions, that are kept. Each has about 100 bytes at most."""
_MAX_NAME: Final = 64


class PlainRequest(Struct, forbid_unknown_fields=True, gc=False):
    """A request to enqueue a job that is due at once, without a dedupe key. Names are not checked yet."""

    type: str
    payload: Raw = NULL
    queue: str = "default"
    priority: Priority = "default"
    id: str | None = None


_decode = msgspec.json.Decoder(PlainRequest).decode


class PlainJobs:
    """Makes jobs of plain requests. The limits and functions are those of the Submission."""

    def __init__(
        self,
        *,
        depth: int,
        payload_limit: int,
        retention_ms: int,
        dedupe_ttl_ms: int,
        attempts_of: Callable[[str], int],
        check_fit: Callable[[str, bytes, str], None] | None,
    ) -> None:
        self._depth = depth
        self._payload_limit = payload_limit
        self._retention_ms = retention_ms
        self._dedupe_ttl_ms = dedupe_ttl_ms
        self._attempts_of = attempts_of
        self._check_fit = check_fit

    def job(self, text: bytes) -> tuple[str, NewJob] | None:
        """Return the type and the job of a plain request, or None. Raises an error for some requests that are wrong."""
        if not text.isascii() or text.count(b"[") + text.count(b"{") > self._depth:
            check_text(text, self._depth)
        try:
            request = _decode(text)
        except msgspec.DecodeError:
            return None
        job_type, queue, job_id = request.type, request.queue, request.id
        payload = bytes(request.payload)
        if len(payload) > self._payload_limit or len(job_type) > _MAX_NAME or len(queue) > _MAX_NAME:
            return None
        if not _are_names(job_type, queue) or _may_repeat_names(text, payload):
            return None
        if job_id is None:
            job_id = ids.new_id()
        elif not ids.is_id(job_id):
            return None
        check_payload(payload)
        if self._check_fit is not None:
            self._check_fit(job_type, payload, "/payload")
        rest = "" if payload == b"null" else ',"payload":' + payload.decode()
        head = _head(queue, request.priority, self._attempts_of(job_type), self._retention_ms)
        body = f'{{"type":"{job_type}"{rest}}}'
        return job_type, NewJob(job_id, queue, request.priority, head, body, dedupe_ttl_ms=self._dedupe_ttl_ms)


def _may_repeat_names(text: bytes, payload: bytes) -> bool:
    """Return whether the type or the queue may be given twice, perhaps with an escape in its key.

    Then the last one counts here, while Submission refuses the first one too if it is wrong.
    """
    return (
        (text.count(b'"type"') > 1 and text.count(b'"type"') - payload.count(b'"type"') > 1)
        or (text.count(b'"queue"') > 1 and text.count(b'"queue"') - payload.count(b'"queue"') > 1)
        or (b"\\" in text and text.count(b"\\") > payload.count(b"\\"))
    )


@lru_cache(MAX_KEPT)
def _are_names(job_type: str, queue: str) -> bool:
    return all(re.match(NAME_PATTERN, name) for name in (job_type, queue))


@lru_cache(MAX_KEPT)
def _head(queue: str, priority: Priority, attempts: int, retention_ms: int) -> str:
    return job_head(queue=queue, priority=priority, max_attempts=attempts, retention_ms=retention_ms)

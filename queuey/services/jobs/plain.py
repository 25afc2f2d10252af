"""The short way from the text of a request to a job, for requests with nothing but the fields of PlainItem.

It makes the job that `Submission.parse` and `new_job` make, without a look at what is not there. Whatever it does not
make a job of is for them, which say what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from queuey.protocol import ids
from queuey.protocol.json.checks import check_payload, check_text
from queuey.protocol.models import NAME_PATTERN, Priority
from queuey.protocol.records import NewJob

MAX_KEPT: Final = 1024
"""Maximum number of frames that are kept. Each has about 1 kB at most."""
_MAX_NAME: Final = 64

_is_name: Final = re.compile(NAME_PATTERN).search


class PlainItem(Struct, forbid_unknown_fields=True, gc=False):
    """A job as it is decoded, if it is due at once and has no dedupe key. Names are not checked yet.

    A payload that is missing is empty.
    """

    type: str
    payload: Raw = Raw()
    id: str | None = None
    queue: str | None = None
    priority: Priority = "default"


class Lane(NamedTuple):
    """The queue, priority and header that all jobs of a group have in common."""

    queue: str
    priority: Priority
    head: str


class Frame(NamedTuple):
    """The definition of the due jobs of one lane and type, without their payloads. They have no further fields.

    A definition is `before`, the payload's text, `after`; it is `bare` for the payload null.
    """

    lane: Lane
    before: str
    after: str
    bare: str


class Frames(dict[tuple[str, str, Priority, int], Frame | None]):
    """The frames of types, queues, priorities and maximum numbers of attempts; None for a bad name, also an empty one.
    `make` makes a frame of the first three.

    The number of attempts is in the key because a handler may be registered later.
    """

    def __init__(self, make: Callable[[str, str, Priority], Frame]) -> None:
        self._make = make

    def __missing__(self, key: tuple[str, str, Priority, int]) -> Frame | None:
        job_type, queue, priority, _ = key
        if not are_names(job_type, queue):
            return None
        if len(self) >= MAX_KEPT:
            self.clear()
        frame = self[key] = self._make(job_type, queue, priority)
        return frame


def are_names(job_type: str, queue: str) -> bool:
    """Return whether these may be the type and the queue of a job."""
    return _is_name(job_type) is not None and _is_name(queue) is not None


_decode = msgspec.json.Decoder(PlainItem).decode


class PlainJobs:
    """Makes jobs of plain requests. The limits and functions are those of the Submission.

    `queues`: by type, the queue of jobs that name none; '' if Submission must find it.
    """

    def __init__(
        self,
        *,
        depth: int,
        payload_limit: int,
        dedupe_ttl_ms: int,
        frames: Frames,
        queues: Mapping[str, str],
        attempts_of: Callable[[str], int],
        check_fit: Callable[[str, bytes, str], None] | None,
    ) -> None:
        self._depth = depth
        self._payload_limit = payload_limit
        self._dedupe_ttl_ms = dedupe_ttl_ms
        self._frames = frames
        self._queues = queues
        self._attempts_of = attempts_of
        self._check_fit = check_fit

    def job(self, text: bytes) -> tuple[str, NewJob] | None:
        """Return the type and the job of a plain request, or None. Raises an error for some requests that are wrong."""
        if not text.isascii() or text.count(b"[") + text.count(b"{") > self._depth:
            check_text(text, self._depth, around=1)
        try:
            item = _decode(text)
        except msgspec.DecodeError:
            return None
        job_type, queue, job_id = item.type, item.queue, item.id
        payload = bytes(item.payload) or b"null"
        if len(payload) > self._payload_limit or len(job_type) > _MAX_NAME or (queue and len(queue) > _MAX_NAME):
            return None
        frame = self._frames[job_type, queue or self._queues[job_type], item.priority, self._attempts_of(job_type)]
        if frame is None or _may_hide_names(text, payload, 1 if queue else 0):
            return None
        if job_id is None:
            job_id = ids.new_id()
        elif not ids.is_id(job_id):
            return None
        check_payload(payload)
        if self._check_fit is not None:
            self._check_fit(job_type, payload, "/payload")
        body = frame.bare if payload == b"null" else f"{frame.before}{payload.decode()}{frame.after}"
        lane = frame.lane
        job = NewJob(job_id, lane.queue, lane.priority, lane.head, body, dedupe_ttl_ms=self._dedupe_ttl_ms)
        return job_type, job


def _may_hide_names(text: bytes, payload: bytes, queues: int) -> bool:
    """Return whether more types or queues may be given than one type and this many queues, perhaps with escaped keys.

    Then the last one counts here, while Submission refuses the first one too if it is wrong. An empty queue is hidden.
    """
    return (
        (text.count(b'"type"') > 1 and text.count(b'"type"') - payload.count(b'"type"') > 1)
        or (text.count(b'"queue"') > queues and text.count(b'"queue"') - payload.count(b'"queue"') > queues)
        or (b"\\" in text and text.count(b"\\") > payload.count(b"\\"))
    )

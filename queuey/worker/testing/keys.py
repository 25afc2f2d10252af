"""The keys of unique jobs, and dedupe keys, in a test: who holds one, and until when."""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

from msgspec import Struct

from queuey.protocol.models import EnqueueReply, JobRequest
from queuey.services.jobs.unique import terms_of
from queuey.services.times import to_ms
from queuey.worker.testing.timeline import Timeline

DEDUPE_TTL: Final = 24 * 3600.0
"""The seconds for which a dedupe key is held without `dedupe_ttl`, as servers have it by default."""


class Held(Struct, eq=False):
    """A key that a job holds. `until`: '' = for the TTL, s = started, f = finished."""

    key: str
    job: JobRequest
    until: str
    ends_ms: int
    state: Literal["enqueued", "running", "waiting", "ended"] = "enqueued"
    follows: JobRequest | None = None
    """The last request that came to replace the job while it was running."""


class KeptKeys:
    """The keys that jobs of a test hold, by the table of docs/unique.md. `enqueued`: the list of the test."""

    def __init__(self, timeline: Timeline, enqueued: deque[JobRequest]) -> None:
        self._timeline = timeline
        self._enqueued = enqueued
        self._held: dict[str, Held] = {}
        self._of: dict[int, Held] = {}
        """By the identity of the job, also after the TTL."""

    def find(self, request: JobRequest) -> EnqueueReply | None:
        """Return the answer to a request whose key another job holds; None if it makes a job, which has the key then.

        Raises AssertionError for one that a server answers with 409, and Invalid for one that it refuses.
        """
        asked = self._terms(request)
        if asked is None:
            return None
        held = self._holder(asked.key)
        if held is None:
            self._take(asked)
            return None
        on_conflict = "replace" if request.debounce else request.unique.on_conflict if request.unique else "return"
        if on_conflict == "return":
            return _found(held.job)
        if on_conflict == "reject" or not _may_replace(held, asked):
            raise AssertionError(
                f"The job {held.job.id} holds the key {request.bucket_key!r}: a server answers 409 key-held."
            )
        if held.state == "running":
            held.follows = request
            return EnqueueReply(str(held.job.id), deduplicated=True, replaced="follows")
        return self._replace(held, request)

    def started(self, request: JobRequest) -> None:
        """Take note that an attempt of the job begins."""
        held = self._of.get(id(request))
        if held is None:
            return
        held.state = "running"
        if held.until == "s":
            self._free(held)

    def over(self, request: JobRequest, status: str) -> None:
        """Take note that an attempt has ended with this status of the job. What is to follow the job is enqueued."""
        held = self._of.get(id(request))
        if held is None:
            return
        if status in ("retry", "snoozed"):
            held.state = "waiting"
            return
        held.state = "ended"
        if held.until == "f" or status == "dead_letter":
            self._free(held)
        if held.follows is not None:
            following = self._terms(held.follows)
            if following is not None and self._holder(held.key) is None:
                self._take(following)
            self._timeline.add(held.follows)

    def _terms(self, request: JobRequest) -> Held | None:
        """Return how a request would hold its key. Raises Invalid."""
        now_ms = self._timeline.now_ms
        terms = terms_of(request, self._timeline.due(request) - now_ms, to_ms(DEDUPE_TTL))
        if terms is not None:
            return Held(terms.key, request, terms.until, now_ms + terms.ttl_ms)
        if request.dedupe_key is None:
            return None
        ttl_ms = to_ms(DEDUPE_TTL if request.dedupe_ttl is None else request.dedupe_ttl)
        return Held(f"dedupe_key {request.dedupe_key}", request, "", now_ms + ttl_ms)

    def _holder(self, key: str) -> Held | None:
        """Return who holds the key now. A job that the test has taken out of the list holds nothing."""
        held = self._held.get(key)
        if held is None or held.ends_ms <= self._timeline.now_ms:
            return None
        is_gone = held.state == "enqueued" and not any(request is held.job for request in self._enqueued)
        return None if is_gone else held

    def _take(self, held: Held) -> None:
        self._held[held.key] = self._of[id(held.job)] = held

    def _free(self, held: Held) -> None:
        """Free the key, unless another job has it after the TTL."""
        if self._held.get(held.key) is held:
            del self._held[held.key]

    def _replace(self, held: Held, request: JobRequest) -> EnqueueReply:
        job = held.job
        job.payload, job.timeout, job.backoff, job.tags = (
            request.payload,
            request.timeout,
            request.backoff,
            request.tags,
        )
        job.metadata, job.traceparent = request.metadata, request.traceparent
        self._timeline.drop_checkpoint(job)
        if request.debounce is not None:
            self._timeline.put_off(job, request.debounce)
        return EnqueueReply(str(job.id), deduplicated=True, replaced="payload")


def _found(job: JobRequest) -> EnqueueReply:
    return EnqueueReply(str(job.id), deduplicated=True)


def _may_replace(held: Held, asked: Held) -> bool:
    """Return whether both have the same type, queue, priority and `until`, as one that replaces the other must."""
    one, other = held.job, asked.job
    return (one.type, one.queue, one.priority, held.until) == (other.type, other.queue, other.priority, asked.until)

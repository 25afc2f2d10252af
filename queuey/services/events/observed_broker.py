"""A Broker whose moves are told to a feed, while somebody follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from queuey.protocol.models import Status
from queuey.protocol.records import NewJob, names_of
from queuey.services.events.publisher import EventPublisher
from queuey.store.broker import Broker, Held, Unextended
from queuey.store.replies import Claimed, Reaped
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards

_FAILED: Final[Mapping[str, Status | None]] = {"retry": "scheduled", "dead": "dead_letter", "cancelled": "cancelled"}


class EventingBroker(Broker):
    """As its parent. Of a call that was sent again what it did is told again."""

    def __init__(self, shards: Shards, scripts: Scripts, feed: EventPublisher) -> None:
        super().__init__(shards, scripts)
        self.feed = feed

    def _tell(self, job_ids: Sequence[str], words: Sequence[str], statuses: Mapping[str, Status | None]) -> None:
        if self.feed.on:
            for job_id, word in zip(job_ids, words, strict=True):
                if word in statuses:
                    self.feed.moved(job_id, statuses[word])

    async def enqueue(self, shard: int, jobs: Sequence[NewJob], **options: Any) -> list[str]:
        words = await super().enqueue(shard, jobs, **options)
        if self.feed.on:
            for job, word in zip(jobs, words, strict=True):
                if word == "new":
                    type, queue = names_of(f"{job.head}\n{job.body[:1024]}")
                    self.feed.status(job.id, type, queue, "queued" if job.is_due else "scheduled", 0)
        return words

    async def claim(self, shard: int, **options: Any) -> Claimed:
        claimed = await super().claim(shard, **options)
        if self.feed.on:
            for job in claimed.jobs:
                type, queue = names_of(job.definition)
                self.feed.status(job.id, type, queue, "running", job.attempt)
        return claimed

    async def complete(self, shard: int, results: Sequence[tuple[str, str, str]], *, now: int = 0) -> list[str]:
        words = await super().complete(shard, results, now=now)
        self._tell([item[0] for item in results] if self.feed.on else (), words, {"ok": "succeeded"})
        return words

    async def fail(self, shard: int, failures: Sequence[tuple[str, str, str, int, bool]], *, now: int = 0) -> list[str]:
        words = await super().fail(shard, failures, now=now)
        self._tell([item[0] for item in failures] if self.feed.on else (), words, _FAILED)
        return words

    async def release(self, shard: int, held: Sequence[Held | Unextended], *, now: int = 0) -> list[str]:
        words = await super().release(shard, held, now=now)
        self._tell([item[0] for item in held] if self.feed.on else (), words, {"ok": None})  # perhaps cancelled
        return words

    async def cancel(self, shard: int, job_ids: Sequence[str], *, now: int = 0) -> list[str]:
        words = await super().cancel(shard, job_ids, now=now)
        self._tell(job_ids, words, {"cancelled": "cancelled"})
        return words

    async def hasten(self, shard: int, request_id: str, job_ids: Sequence[str], *, now: int = 0) -> list[str]:
        words = await super().hasten(shard, request_id, job_ids, now=now)
        self._tell(job_ids, words, {"ok": "queued"})
        return words

    async def replay(
        self, shard: int, replay_id: str, job_ids: Sequence[str], delays_ms: Sequence[int] = (), *, now: int = 0
    ) -> list[str]:
        words = await super().replay(shard, replay_id, job_ids, delays_ms, now=now)
        self._tell(job_ids, words, {"ok": None if any(delays_ms) else "queued"})
        return words

    async def reap(self, shard: int, limit: int, delays_ms: Sequence[int], *, now: int = 0) -> Reaped:
        reaped = await super().reap(shard, limit, delays_ms, now=now)
        self._tell([job_id for job_id, _ in reaped.outcomes], [word for _, word in reaped.outcomes], _FAILED)
        return reaped

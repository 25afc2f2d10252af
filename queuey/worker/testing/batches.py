"""The batches of items that handlers enqueue in a test: each is one job, whose payload is the list of its items."""

from __future__ import annotations

from collections import deque

from msgspec import Raw
from msgspec.structs import replace

from queuey.protocol import ids
from queuey.protocol.models import Batch, EnqueueReply, JobRequest
from queuey.worker.testing.timeline import Timeline


class _Kept:
    """A batch: `job` has the items that were added. It takes further ones before `due_ms`, while it has room."""

    def __init__(self, job: JobRequest, most: int, due_ms: int) -> None:
        self.job = job
        self.items: list[bytes] = []
        self.due_ms = due_ms
        self._most = most

    @property
    def is_full(self) -> bool:
        """Whether it takes no further item."""
        return len(self.items) >= self._most

    def add(self, payload: Raw) -> None:
        """Add an item."""
        self.items.append(bytes(payload))
        self.job.payload = Raw(b"[" + b",".join(self.items) + b"]")


class KeptBatches:
    """Adds items to batches as a server does. `enqueued`: the jobs that a test has not run or taken yet."""

    def __init__(self, timeline: Timeline, enqueued: deque[JobRequest]) -> None:
        self._timeline = timeline
        self._enqueued = enqueued
        self._by_name: dict[tuple[object, ...], _Kept] = {}
        self._holders: dict[str, str] = {}
        """The job of each item, by its id."""

    def add(self, item: JobRequest, batch: Batch) -> EnqueueReply:
        """Add an item to the open batch of its key, or begin a new one."""
        if item.id is not None and (holder := self._holders.get(item.id)):
            return EnqueueReply(holder, deduplicated=True)
        name = (item.type, item.queue, item.priority, batch.key)
        kept = self._by_name.get(name)
        if kept is None or not self._is_open(kept):
            job = replace(item, id=ids.new_id(batch.key), payload=Raw(b"[]"))
            kept = self._by_name[name] = _Kept(job, batch.max_size, self._timeline.add(job))
        kept.add(item.payload)
        if kept.is_full:
            self._timeline.hasten(kept.job)
        if item.id is not None:
            self._holders[item.id] = str(kept.job.id)
        return EnqueueReply(str(kept.job.id), deduplicated=False, items=len(kept.items))

    def _is_open(self, kept: _Kept) -> bool:
        is_waiting = any(job is kept.job for job in self._enqueued)
        return is_waiting and not kept.is_full and self._timeline.now_ms < kept.due_ms

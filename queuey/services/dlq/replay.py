"""Replaying the oldest jobs of the dead-letter queues."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Final

from queuey.errors import Full, OutcomeUnknown, StoreUnavailable
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH
from queuey.store.deadline import Deadline

MAX_LOOKED_AT: Final = 1000
"""Jobs that one request looks at, whether it replays or skips them."""
_PAGE: Final = 100


async def replay_oldest(broker: Broker, limit: int, deadline: Deadline, metrics: Metrics) -> int:
    """Give up to `limit` dead jobs a new run, oldest first over all shards and queues. Returns how many.

    A job whose dedupe key another job holds by now stays dead and does not count. Raises Full when there was no room
    for any, StoreUnavailable when none was replayed, and OutcomeUnknown when some were or may have been.
    """
    replay = _Replay(broker, deadline, metrics)
    candidates = [job_id async for job_id in _oldest(broker, deadline)]
    try:
        await replay.run(candidates, limit)
    except Full:
        if not replay.count:
            raise
    return replay.count


class _Replay:
    """One request's replays. All bear one replay id, so that sending a batch again is safe."""

    def __init__(self, broker: Broker, deadline: Deadline, metrics: Metrics) -> None:
        self.count = 0
        self._broker = broker
        self._deadline = deadline
        self._metrics = metrics
        self._id = ids.short_random()

    async def run(self, candidates: Sequence[str], limit: int) -> None:
        """Until `limit` were replayed. Those that were skipped make room for later ones."""
        place = 0
        while place < len(candidates) and self.count < limit:
            batch = candidates[place : place + min(limit - self.count, MAX_BATCH)]
            place += len(batch)
            by_shard: defaultdict[int, list[str]] = defaultdict(list)
            for job_id in batch:
                by_shard[self._broker.shards.of_job(job_id)].append(job_id)
            for shard, job_ids in by_shard.items():
                await self._replay(shard, job_ids)

    async def _replay(self, shard: int, job_ids: list[str]) -> None:
        try:
            answers = await self._deadline.call(lambda: self._broker.dlq.replay(shard, self._id, job_ids))
        except StoreUnavailable as error:
            if self.count or error.maybe_done:
                raise OutcomeUnknown(f"{error.message} {self.count} jobs were replayed before.", job_ids) from error
            raise
        replayed = answers.count("ok")
        self._metrics.replayed.add((), replayed)
        self.count += replayed


async def _oldest(broker: Broker, deadline: Deadline) -> AsyncIterator[str]:
    """Ids of dead jobs, oldest first over all shards: a merge of the shards' lists, read page by page."""
    heap: list[tuple[int, str, int, int]] = []

    async def read_page(shard: int, start: int) -> None:
        page = await deadline.call(lambda: broker.jobs.list_by_status(shard, "dead", start=start, count=_PAGE))
        for place, entry in enumerate(page, 1):
            next_page = start + _PAGE if place == _PAGE else 0
            heapq.heappush(heap, (entry.score, entry.id, shard, next_page))

    for shard in range(broker.shards.count):
        await read_page(shard, 0)
    for _ in range(MAX_LOOKED_AT):
        if not heap:
            return
        _, job_id, shard, next_page = heapq.heappop(heap)
        yield job_id
        if next_page:
            await read_page(shard, next_page)

"""Replaying the oldest jobs of the dead-letter queues."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Final

from queuey import ids
from queuey.broker import MAX_BATCH, Broker
from queuey.errors import Full, StoreUnavailable
from queuey.patience import Patience, outcome

MAX_LOOKED_AT: Final = 1000
"""Jobs that one request looks at, whether it replays or skips them."""
_PAGE: Final = 100


async def replay_oldest(broker: Broker, limit: int, patience: Patience) -> int:
    """Give up to `limit` dead jobs a new run, oldest first over all shards and queues. Returns how many.

    A job whose dedupe key another job holds by now stays dead and does not count. Raises Full when there was no room
    for any, StoreUnavailable or OutcomeUnknown.
    """
    replay_id = ids.short_random()
    candidates = [job_id async for job_id in _oldest(broker, patience)]
    candidates.reverse()
    replayed = 0
    while candidates and replayed < limit:
        batch = [candidates.pop() for _ in range(min(limit - replayed, MAX_BATCH, len(candidates)))]
        try:
            replayed += await _replay(broker, replay_id, batch, patience)
        except Full:
            if not replayed:
                raise
            break
    return replayed


async def _replay(broker: Broker, replay_id: str, batch: list[str], patience: Patience) -> int:
    by_shard: defaultdict[int, list[str]] = defaultdict(list)
    for job_id in batch:
        by_shard[broker.shards.of_job(job_id)].append(job_id)
    replayed = 0
    for shard, job_ids in by_shard.items():
        try:
            words = await patience.call(lambda shard=shard, job_ids=job_ids: broker.replay(shard, replay_id, job_ids))  # type: ignore[misc]
        except StoreUnavailable as error:
            raise outcome(error, job_ids) from error
        replayed += words.count("ok")
    return replayed


async def _oldest(broker: Broker, patience: Patience) -> AsyncIterator[str]:
    """Ids of dead jobs, oldest first over all shards: a merge of the shards' lists, read page by page."""
    heap: list[tuple[int, str, int, int]] = []

    async def read_page(shard: int, start: int) -> None:
        page = await patience.call(lambda: broker.list(shard, "dead", start=start, count=_PAGE))
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

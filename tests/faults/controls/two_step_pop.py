"""Importing this makes every claim pop the ids in one call, and put them under a lease in another.

That is how queues on BLPOP work: what a process has popped when it dies is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from queuey.store.broker.leases import LeaseCalls
from queuey.store.replies import Claimed

LANES: Final = ("high", "default", "low")
GAP: Final = 0.2
"""Seconds between the two calls, so that a SIGKILL need not be lucky to come between them."""

_claim = LeaseCalls.claim


async def claim(self: LeaseCalls, shard: int, *, queues: Sequence[str], limit: int, **options: Any) -> Claimed:
    """Pop the ids, wait, and claim them."""
    client: Any = self._shards.client_of(shard)
    popped: list[tuple[str, list[bytes]]] = []
    left = limit
    for lane in LANES:
        for queue in queues:
            key = self._shards.keys[shard].ready(queue, lane)
            ids = await client.lpop(key, left) if left else None
            if ids:
                popped.append((key, ids))
                left -= len(ids)
    await asyncio.sleep(GAP)
    for key, ids in popped:
        await client.lpush(key, *reversed(ids))
    return await _claim(self, shard, queues=queues, limit=limit, **options)


LeaseCalls.claim = claim  # type: ignore[method-assign]

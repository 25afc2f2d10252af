"""Jobs in the dead-letter queue."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from tests.support.store import Rig


async def die(
    rig: Rig,
    *,
    queue: str = "default",
    type: str = "t",
    message: str = "no",
    kind: str = "error",
    ago: int = 0,
    payload: str = "null",
    **fields: Any,
) -> str:
    """A job that died so many ms ago, by the clock; it is alone in its queue."""
    body = f'{{"type":"{type}","payload":{payload}}}'
    job = rig.job(queue=queue, body=body, **fields)
    shard, at = rig.broker.shards.of_job(job.id), int(time.time() * 1000) - ago
    assert await rig.broker.jobs.enqueue(shard, [job], now=at) == ["new"]
    claimed = await rig.broker.leases.claim(
        shard, claim_id=f"c{job.id}", worker="w", lease_ms=1000, limit=1, queues=[queue], now=at
    )
    (held,) = claimed.jobs
    error = msgspec.json.encode({"attempt": 1, "kind": kind, "message": message}).decode()
    assert await rig.broker.leases.fail(shard, [(job.id, held.token, error, 0, True)], now=at) == ["dead"]
    return job.id

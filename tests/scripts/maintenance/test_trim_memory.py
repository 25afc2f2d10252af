"""Trimming gives all memory back: a store that has seen many jobs takes no more room than before the first."""

from __future__ import annotations

import pytest

from queuey.store.broker.calls import MAX_BATCH
from queuey.store.replies import Caps
from tests.support.store import HOUR, NOW, Rig
from tests.support.stores import one_of
from tests.support.working import eventually

pytestmark = pytest.mark.serial

BODY = '{"type":"t","payload":"' + "x" * 100 + '"}'
RESULT = '"' + "y" * 100 + '"'
REMAINS = 256_000
"""Bytes that may stay, however many jobs there were: some 150 kB of the server's own caches and of its connections'
buffers, which grow with its first load; of the jobs the counters and the queue's name, together below 1 kB."""


kind = one_of("valkey")
shards = one_of(1)


async def used_memory(rig: Rig) -> int:
    return int((await rig.client.info("memory"))["used_memory"])


async def finish(rig: Rig, count: int) -> None:
    """So many jobs from enqueue to success. The record of a claim goes with its lease, so leases are short."""
    jobs = [rig.job(body=BODY) for _ in range(count)]
    assert await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW) == ["new"] * count
    held = (await rig.claim(count, lease_ms=1)).jobs
    done = [(job.id, job.token, RESULT) for job in held]
    assert await rig.broker.leases.complete(rig.shard, done, now=NOW) == ["ok"] * count


async def trim_all(rig: Rig) -> int:
    """Returns how many went."""
    removed, more = 0, True
    while more:
        trimmed = await rig.broker.maintenance.trim(rig.shard, MAX_BATCH, Caps(), now=NOW + HOUR)
        removed, more = removed + trimmed.finished, trimmed.more
    return removed


@pytest.mark.parametrize(
    "jobs",
    [20_000, pytest.param(1_000_000, marks=[pytest.mark.stress, pytest.mark.timeout(1800)])],
)
async def test_after_many_jobs_the_store_is_as_small_as_before(rig: Rig, jobs: int) -> None:
    await finish(rig, MAX_BATCH)  # loads the scripts, and grows what stays
    await trim_all(rig)
    before = await used_memory(rig)
    for first in range(0, jobs, MAX_BATCH):
        await finish(rig, min(MAX_BATCH, jobs - first))
    assert (await rig.row())["finished"] == jobs
    assert await used_memory(rig) > before + 500 * jobs
    assert await trim_all(rig) == jobs

    async def small_again() -> bool:
        """The store gives its hash table back bit by bit, and drops the claims' records as they lapse."""
        return await used_memory(rig) <= before + REMAINS

    await eventually(small_again)
    assert await rig.names() == {"queues", "queue:default", "stats", "wake:default"}
    assert len(await rig.client.keys("*")) == 4 + 1  # and the counters of one minute
    sizes = [await rig.client.memory_usage(name) for name in await rig.client.keys("*")]
    assert sum(sizes) < 1000

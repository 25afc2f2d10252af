"""What the tests of export and import share: a store with something in every place, and how to look at all of one."""

from __future__ import annotations

from typing import Any

from queuey.protocol.models import PRIORITIES
from queuey.store.broker.broker import Broker
from queuey.store.replies import DumpedJob
from tests.support.store import HOUR, Rig

NAMED_PAGES = 1000
PAUSED_AT = 1_700_000_000_000
DAY = 24 * HOUR


def ignore(kind: str, more: int) -> None:
    """Progress that nobody looks at."""


async def fill(rig: Rig, ready: int = 8) -> dict[str, list[str]]:
    """Jobs in every place of the rig's shard, by the store's clock. Ids by place, in order."""
    running, flagged, retried, dead, done, released = await rig.held(6, now=0, queue="mail", key="")
    await rig.broker.jobs.cancel(rig.shard, [flagged[0]])
    await rig.broker.leases.fail(
        rig.shard,
        [
            (*retried, '{"attempt":1,"kind":"error","message":"m"}', DAY, False),
            (*dead, '{"attempt":1,"kind":"dead","message":"Ü \\"x\\""}', 0, True),
        ],
    )
    await rig.broker.leases.complete(rig.shard, [(*done, '{"big":12345678901234567890}')])
    await rig.broker.leases.release(rig.shard, [released])
    ids = {
        "running": [running[0]],
        "flagged": [flagged[0]],
        "scheduled": [retried[0], *await rig.add(now=0, delay_ms=2 * DAY, priority="low")],
        "dead": [dead[0]],
        "finished": [done[0]],
        "released": [released[0]],
        "keyed": await rig.add(now=0, key="ключ", dedupe_ttl_ms=DAY, queue="mail"),
    }
    ids["ready"] = await rig.add(ready, now=0, priority="high", body='{"type":"t","payload":{"n":[1.0,"\\u00e9"]}}')
    (cancelled,) = await rig.add(now=0, priority="high")
    await rig.broker.jobs.cancel(rig.shard, [cancelled])
    ids["cancelled"] = [cancelled]
    await rig.client.set(rig.keys.dedupe("i:digest"), dead[0], px=DAY)  # as an Idempotency-Key leaves it
    await rig.broker.queues.pause(rig.shard, "mail", "the mail server is away", "ops", now=PAUSED_AT)
    return ids


async def all_jobs(broker: Broker) -> dict[str, DumpedJob]:
    """Every job of the store as dump tells of it."""
    found: dict[str, DumpedJob] = {}
    cursor = 0
    for _ in range(NAMED_PAGES):
        cursor, names = await broker.scan("job", cursor)
        for shard, job_id in names:
            assert broker.shards.of_job(job_id) == shard, "it stands where every replica looks for it"
            found |= {job.id: job for job in (await broker.transfer.dump(shard, [job_id])).jobs}
        if not cursor:
            return found
    raise AssertionError("the store names no end of jobs")


async def all_keys(broker: Broker) -> dict[str, str]:
    """Every dedupe key, and its holder."""
    found: dict[str, str] = {}
    cursor = 0
    for _ in range(NAMED_PAGES):
        cursor, names = await broker.scan("dedupe", cursor)
        for shard, key in names:
            found |= {held.key: held.job_id for held in (await broker.transfer.dump(shard, [], [key])).held}
        if not cursor:
            return found
    raise AssertionError("the store names no end of keys")


async def lanes(broker: Broker, client: Any) -> dict[tuple[int, str, str], list[str]]:
    """What can be claimed of every lane that holds something, without tombstones, in order."""
    found: dict[tuple[int, str, str], list[str]] = {}
    jobs = await all_jobs(broker)
    for shard, keys in enumerate(broker.shards.keys):
        for row in (await broker.queues.stats(shard)).queues:
            for priority in PRIORITIES:
                entries = [entry.decode() for entry in await client.lrange(keys.ready(row.name, priority), 0, -1)]
                if waiting := [job_id for job_id in entries if jobs[job_id].place == "ready"]:
                    found[shard, row.name, priority] = waiting
    return found


def at_work(rig: Rig) -> Broker:
    """A Broker on the rig's store: jobs are claimed, completed and enqueued between any two calls of an export."""
    broker = Broker(rig.broker.shards, rig.scripts)
    dump = broker.transfer.dump

    async def busy_dump(*arguments: Any, **options: Any) -> Any:
        held = [(job.id, job.token) for job in (await rig.claim(2, now=0, queues=["default"])).jobs]
        await rig.broker.leases.complete(rig.shard, [(*one, "") for one in held[:1]])
        await rig.broker.leases.fail(rig.shard, [(*one, "{}", DAY, False) for one in held[1:]])
        await rig.add(now=0, priority="high")
        return await dump(*arguments, **options)

    broker.transfer.dump = busy_dump  # type: ignore[method-assign]
    return broker

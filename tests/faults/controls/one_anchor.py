"""A slot moves from one Cluster node to another, and a claim comes in the middle: with two anchors, and with one.

Every script names its shard's base key and the same with `!`, which never exist. The node that gives the slot away then
answers ASK, and the one that takes it TRYAGAIN, for as long as the move lasts. With a single key the second cannot tell
that keys are missing, and runs the script on those that have come so far. (One that then reads several keys at once, of
which some are missing, is refused half-way, as the plain way of a claim does. The general way of a claim of one job
reads one if its first two keys are read one by one, so the claim in the middle is made by scripts that are changed so.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import AskError, RedisError, TryAgainError

from queuey.protocol import ids
from queuey.protocol.records import NewJob
from queuey.store.broker.broker import Broker
from queuey.store.replies import Claimed, ClaimedJob
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.faults.evidence.history import History
from tests.faults.evidence.invariants import Evidence, Rest, Violation, check
from tests.faults.evidence.ledger import Answered, Ended, Event, Sent, Started, now
from tests.faults.load.handlers import Deed
from tests.faults.store.view import read_store
from tests.support.scripts.plain_ways import without_plain_ways
from tests.support.store import Server, client_for, free_port, valkey_binary

HOST: Final = "127.0.0.1"
JOBS: Final = 10
LEASE: Final = 60.0
PATIENCE: Final = 30.0
MIGRATE_MS: Final = 5_000


class Node:
    """One of the two Cluster nodes."""

    def __init__(self) -> None:
        self.port, self.bus = free_port(), free_port()
        options = ("--port", str(self.port), "--cluster-port", str(self.bus))
        self._server = Server(valkey_binary(), *options, cluster=True, ready=False)
        self.client: Any = client_for(self._server.url)

    async def answers(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(RedisError):
                    await self.client.ping()
                    return
                await asyncio.sleep(0.02)

    async def cluster(self, *words: object) -> Any:
        return await self.client.execute_command("CLUSTER", *words)

    async def stop(self) -> None:
        await self.client.aclose()
        self._server.stop()


class AskingScripts(Scripts):
    """Calls scripts with so many anchors, and follows ASK to the other node, as a Cluster client does."""

    def __init__(self, folder: Path, anchors: int, other: Redis) -> None:
        super().__init__(folder)
        self._anchors = anchors
        self._other: Any = other

    async def call(self, client: Redis, name: str, keys: tuple[str, str], argument: bytes, copies: int = 0) -> bytes:
        sha, anchors, asked = self._shas[name], keys[: self._anchors], None
        node: Any = client
        try:
            asked = await node.evalsha(sha, len(anchors), *anchors, argument)
        except AskError:
            async with self._other.client() as connection:
                await connection.execute_command("ASKING")
                asked = await connection.evalsha(sha, len(anchors), *anchors, argument)
        return bytes(asked)


class Move:
    """All slots are with `source`, and that of shard 0 goes to `target`."""

    def __init__(self, source: Node, target: Node) -> None:
        self._source = source
        self._target = target
        self._names = Shards(source.client).keys[0]

    async def prepare(self) -> None:
        """Make one Cluster of the two."""
        for node in (self._source, self._target):
            await node.answers()
        await self._source.cluster("ADDSLOTSRANGE", 0, 16383)
        await self._source.cluster("MEET", HOST, self._target.port, self._target.bus)
        async with asyncio.timeout(PATIENCE):
            for node in (self._source, self._target):
                while b"cluster_state:ok" not in await node.cluster("INFO"):  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.02)
        for node in (self._source, self._target):
            await Scripts().load(node.client)
        self._slot = await self._source.cluster("KEYSLOT", self._names.base)
        self._ids = [(await node.cluster("MYID")).decode() for node in (self._source, self._target)]

    async def begin(self, left_behind: str) -> None:
        """Move everything but the definition of one job, which comes last."""
        await self._target.cluster("SETSLOT", self._slot, "IMPORTING", self._ids[0])
        await self._source.cluster("SETSLOT", self._slot, "MIGRATING", self._ids[1])
        last = self._names.job(left_behind).encode()
        await self._migrate([key for key in await self._keys() if key != last])

    async def end(self) -> None:
        await self._migrate(await self._keys())
        for node in (self._target, self._source):
            await node.cluster("SETSLOT", self._slot, "NODE", self._ids[1])

    async def _keys(self) -> list[bytes]:
        return list(await self._source.cluster("GETKEYSINSLOT", self._slot, 1000))

    async def _migrate(self, keys: list[bytes]) -> None:
        where = (HOST, self._target.port, "", 0, MIGRATE_MS)
        await self._source.client.execute_command("MIGRATE", *where, "REPLACE", "KEYS", *keys)


@asynccontextmanager
async def two_nodes() -> AsyncIterator[tuple[Node, Node]]:
    nodes: list[Node] = []
    try:
        nodes += [Node(), Node()]
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            await node.stop()


async def claim_during_move(anchors: int) -> tuple[str, list[Violation]]:
    """Enqueue, move most of the slot, claim one job, move the rest, then run all that can be claimed.

    Returns what that claim was answered, and which invariants are violated in the end.
    """
    events: list[Event] = []
    async with two_nodes() as (source, target):
        move = Move(source, target)
        await move.prepare()
        with TemporaryDirectory() as folder:
            asking = AskingScripts(_reading_one_key(Path(folder)), anchors, target.client)
        for node in (source, target):
            await asking.load(node.client)
        job_ids = await _enqueue(Broker(Shards(source.client), Scripts()), events)
        await move.begin(left_behind=job_ids[0])
        midway = Broker(Shards(source.client), asking)
        held: list[ClaimedJob] = []
        try:
            held = (await _claim(midway, "midway")).jobs
            answer = ", ".join(f"job {job_ids.index(job.id)}" for job in held) or "nothing"
        except TryAgainError:
            answer = "TRYAGAIN"
        await move.end()
        await _run_all(Broker(Shards(target.client), Scripts()), events, held)
        view = await read_store(target.client)
    rest = Rest(0.0, 0.0, late=view.unfinished())
    return answer, check(Evidence(History.of(events), view, rest, LEASE))


def _reading_one_key(folder: Path) -> Path:
    """Copy the scripts into a folder, so that a claim of one job reads several keys in no command."""
    place = without_plain_ways(folder) / "leases" / "claim.lua"
    text = place.read_text(encoding="utf-8")
    at_once = "unpack(redis.call('MGET', claim_key(claim_id), alone_key(worker)))"
    assert text.count(at_once) == 1
    one_by_one = "redis.call('GET', claim_key(claim_id)), redis.call('GET', alone_key(worker))"
    place.write_text(text.replace(at_once, one_by_one), encoding="utf-8")
    return folder


async def _enqueue(broker: Broker, events: list[Event]) -> list[str]:
    job_ids = [ids.new_id() for _ in range(JOBS)]
    payload = msgspec.to_builtins(Deed())
    body = msgspec.json.encode({"type": "loop", "payload": payload}).decode()
    for call, job_id in enumerate(job_ids):
        events.append(Sent(now(), call, "enqueue", job_id, {"id": job_id, "payload": payload}))
        assert await broker.jobs.enqueue(0, [NewJob(job_id, "default", "default", "", body)]) == ["new"]
        events.append(Answered(now(), call, "enqueue", "ok", "200", job_id, job_id))
    return job_ids


async def _claim(broker: Broker, claim_id: str) -> Claimed:
    """One job, as a worker with one free slot does."""
    return await broker.leases.claim(
        0, claim_id=claim_id, worker="w", lease_ms=round(LEASE * 1000), limit=1, queues=["default"]
    )


async def _run_all(broker: Broker, events: list[Event], held: Sequence[ClaimedJob]) -> None:
    """Complete what is held, and all that can be claimed besides."""
    jobs = [*held]
    for number in range(JOBS):
        jobs += (await _claim(broker, f"after{number}")).jobs
    for job in jobs:
        events.append(Started(now(), job.id, "loop", job.attempt, job.token, 0))
        events.append(Ended(now(), job.id, job.token, "ok", 0))
        result = msgspec.json.encode({"token": job.token}).decode()
        assert await broker.leases.complete(0, [(job.id, job.token, result)]) == ["ok"]

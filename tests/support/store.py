"""Servers for tests, and a Broker with the helpers that the script tests share."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from redis import Redis as BlockingRedis
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from queuey.protocol import ids
from queuey.protocol.models import Priority
from queuey.protocol.records import NewJob, StoredJob, encode_key, job_head, parse_fields
from queuey.store.asides import Wanted
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import StoreClient, connect
from queuey.store.embedded.process import find_binary
from queuey.store.keys import ShardKeys
from queuey.store.replies import Claimed
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards

START_PATIENCE: Final = 20.0
NOW: Final = 1_800_000_000_000
"""A time in ms, far from the store's clock, so that a script which mixes the two is noticed."""
LEASE: Final = 30_000
SECOND: Final = 1_000
HOUR: Final = 3_600_000
SIXTY_FOUR: Final = [(("high", "default", "low")[number % 3], f"type{number:02}") for number in range(64)]
"""The most names of lists set aside that a queue has beside STARS, each as (lane, type)."""
STARS: Final = [(lane, "*") for lane in ("high", "default", "low")]


SLOW_LOADING: Final = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
"""A server that takes 20 ms to load a key, and says so to those who ask."""


class Server:
    """A Valkey or Redis in a temporary folder, on a unix socket, without persistence unless asked for."""

    def __init__(self, binary: Path, *options: str, cluster: bool = False, ready: bool = True) -> None:
        """Start it. `ready`: wait until it answers PING, and until a cluster holds all its slots."""
        self.folder = Path(tempfile.mkdtemp(prefix="queuey-"))  # short: a socket's path is limited to 100 bytes
        self.socket = self.folder / "store.sock"
        self.url = f"unix://{self.socket}"
        self._log = self.folder / "store.log"
        command = [
            *(str(binary), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)),
            *("--save", "", "--appendonly", "no", "--databases", "1"),
        ]
        if cluster:
            command += ["--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", str(free_port())]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
        try:
            if ready:
                self._wait_until_ready(cluster)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)

    def save_many_keys(self) -> None:
        """Write a dump of 400 keys, for another server to load."""
        with BlockingRedis(unix_socket_path=str(self.socket)) as client:
            client.mset({f"key{number}": os.urandom(2048) for number in range(400)})  # it compresses other data
            client.save()

    def _wait_until_ready(self, cluster: bool) -> None:
        give_up = time.monotonic() + START_PATIENCE
        client: Any = BlockingRedis(unix_socket_path=str(self.socket))
        with client:
            while not self._answers(client, cluster):
                if self.process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError(f"The store did not start: {self._log.read_text()[-2000:]}")
                time.sleep(0.01)  # a server has no event to wait for before it answers

    def _answers(self, client: Any, cluster: bool) -> bool:
        try:
            client.ping()
        except redis_errors.ConnectionError:
            return False
        if not cluster:
            return True
        info = client.execute_command("CLUSTER", "INFO")
        if b"cluster_slots_assigned:0" in info:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        return b"cluster_state:ok" in info


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def valkey_binary() -> Path:
    return find_binary()


def debian_redis() -> Path | None:
    """Debian's redis-server, where it is installed and at least at the floor of the supported versions, 7.0."""
    found = shutil.which("redis-server")
    if found is None:
        return None
    text = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"Redis server v=(\d+)\.", text)
    return Path(found) if version and int(version[1]) >= 7 else None


Snapshot = dict[str, tuple[bytes, bool]]


class Moves(list[tuple[str, str | None]]):
    """An observer that keeps each job's id and its new status."""

    on = True

    def status(self, job_id: str, type: str, queue: str, status: str, attempt: int) -> None:
        self.append((job_id, status))

    def moved(self, job_id: str, status: str | None) -> None:
        self.append((job_id, status))


class Rig:
    """A Broker on an emptied store, one of its shards, and short ways to say what the script tests say often.

    Everything happens at NOW unless a test says otherwise.
    """

    def __init__(self, client: StoreClient, shards: int, scripts: Scripts) -> None:
        self.client: Any = client  # the types of its replies are unions of all that a reply can be
        self.broker = Broker(Shards(client, shards), scripts)
        self.scripts = scripts
        self.shard = shards - 1
        self.keys: ShardKeys = self.broker.shards.keys[self.shard]
        self._claims = 0

    def listen(self) -> Moves:
        """Have the Broker report its moves from now on, to the list that is returned."""
        moves = Moves()
        self.broker = Broker(self.broker.shards, self.scripts, moves)
        return moves

    # --- jobs --------------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        """An id of this shard."""
        while self.broker.shards.of_job(job_id := ids.new_id()) != self.shard:
            pass
        return job_id

    def job(
        self,
        *,
        id: str | None = None,
        queue: str = "default",
        priority: Priority = "default",
        body: str = '{"type":"t"}',
        key: str = "",
        dedupe_ttl_ms: int = 86_400_000,
        delay_ms: int = 0,
        run_at_ms: int = 0,
        extra: str = "",
        **head: Any,
    ) -> NewJob:
        """A job for enqueue. `head` takes max_attempts and retention_ms; `extra` is added to the header as it is."""
        dedupe = encode_key(key) if key else ""
        fields = job_head(queue=queue, priority=priority, dedupe=dedupe, dedupe_ttl_ms=dedupe_ttl_ms, **head)
        return NewJob(
            id=id or self.new_id(),
            queue=queue,
            priority=priority,
            head=f"{fields} {extra}".strip(),
            body=body,
            delay_ms=delay_ms,
            run_at_ms=run_at_ms,
            dedupe=dedupe,
            dedupe_ttl_ms=dedupe_ttl_ms,
        )

    async def add(self, count: int = 1, *, now: int = NOW, **fields: Any) -> list[str]:
        """Enqueue `count` jobs like `job(**fields)`, which must all be new. Returns their ids."""
        jobs = [self.job(**fields) for _ in range(count)]
        assert await self.broker.jobs.enqueue(self.shard, jobs, now=now) == ["new"] * count
        return [job.id for job in jobs]

    async def claim(self, limit: int = 1, *, now: int = NOW, **options: Any) -> Claimed:
        """Claim with a new claim id from the queue `default`, with a lease of LEASE, unless told otherwise."""
        self._claims += 1
        settings: dict[str, Any] = {
            "claim_id": f"claim{self._claims:03}",
            "worker": "w1",
            "lease_ms": LEASE,
            "limit": limit,
            "queues": ["default"],
        }
        return await self.broker.leases.claim(self.shard, now=now, **(settings | options))

    async def claim_typed(self, limit: int = 1, *, now: int = NOW, **options: Any) -> Claimed:
        """Claim like `claim`, but by type and room. The options that Wanted has go there."""
        wanted = {name: options.pop(name) for name in Wanted.__struct_fields__ if name in options}
        return await self.claim(limit, now=now, wanted=Wanted(**wanted), **options)

    async def open_gate(self) -> None:
        """Say that every replica knows lists set aside, so that scripts may write some."""
        await self.client.hset(self.keys.meta, "features", "aside")

    async def held(self, count: int = 1, *, now: int = NOW, **fields: Any) -> list[tuple[str, str]]:
        """Enqueue and claim: (id, token) of each."""
        added = await self.add(count, now=now, **fields)
        claimed = await self.claim(count, now=now, queues=[fields.get("queue", "default")])
        assert [job.id for job in claimed.jobs] == added
        return [(job.id, job.token) for job in claimed.jobs]

    async def crashed(self, *, crashes: int = 1, now: int = NOW, **fields: Any) -> str:
        """A job that is waiting at the head of its lane after so many crashes, all before `now`."""
        (job_id,) = await self.add(now=now, **fields)
        for _ in range(crashes):
            await self.claim(now=now - LEASE, queues=[fields.get("queue", "default")])
            await self.broker.maintenance.reap(self.shard, 10, [0], now=now)
            await self.broker.maintenance.promote(self.shard, 10, now=now)
        return job_id

    async def set_aside(
        self, job_ids: Sequence[str], type: str = "t", *, queue: str = "default", lane: str = "default"
    ) -> None:
        """Move waiting jobs from their lane to the tail of a list set aside, and name it."""
        for job_id in job_ids:
            assert await self.client.lrem(self.keys.ready(queue, lane), 1, job_id) == 1
        await self.client.rpush(self.keys.aside(queue, lane, type), *job_ids)
        await self.name_asides((lane, type), queue=queue)

    async def name_asides(self, *names: tuple[str, str], queue: str = "default") -> None:
        """Name lists set aside, each as (lane, type), whether or not they have jobs."""
        before = (await self.client.hget(self.keys.queue(queue), "aside") or b"").decode()
        words = dict.fromkeys([*before.split(), *(f"{lane[0]}:{type}" for lane, type in names)])
        await self.client.hset(self.keys.queue(queue), "aside", "".join(f" {word}" for word in words))

    async def set_aside_list(self, type: str = "t", *, queue: str = "default", lane: str = "default") -> list[str]:
        """A list set aside, from head to tail."""
        return [entry.decode() for entry in await self.client.lrange(self.keys.aside(queue, lane, type), 0, -1)]

    # --- looking -----------------------------------------------------------------------------------------------

    async def stored(self, job_id: str) -> StoredJob:
        (stored,) = await self.broker.jobs.get(self.shard, [job_id])
        return stored

    async def state(self, job_id: str) -> dict[str, str]:
        """The fields of a job's state, {} before its first claim."""
        return parse_fields((await self.stored(job_id)).state)

    async def counters(self) -> dict[str, int]:
        stats = await self.broker.queues.stats(self.shard)
        return {name: total for name, total, _ in stats.counters}

    async def row(self, queue: str = "default") -> dict[str, object]:
        """What stats tells of a queue, by name."""
        stats = await self.broker.queues.stats(self.shard)
        return {row.name: msgspec.structs.asdict(row) for row in stats.queues}[queue]

    async def asides(self, queue: str = "default") -> list[tuple[str, int]]:
        """What stats tells of the lists of a queue that were set aside: type and entries."""
        stats = await self.broker.queues.stats(self.shard)
        return {row.name: row.aside for row in stats.queues}[queue]

    async def waiting(self, queue: str = "default", priority: str = "default") -> list[str]:
        """A lane, from head to tail."""
        return [entry.decode() for entry in await self.client.lrange(self.keys.ready(queue, priority), 0, -1)]

    async def scores(self, key: str) -> dict[str, int]:
        """A sorted set's members and scores."""
        entries = await self.client.zrange(key, 0, -1, withscores=True)
        return {member.decode(): int(score) for member, score in entries}

    async def marked(self, queue: str = "default") -> bool:
        """Whether the marker that wakes a replica is there; it is taken away, as a replica does."""
        return bool(await self.client.zpopmin(self.keys.wake(queue)))

    async def names(self) -> set[str]:
        """Every key in the store but the counters by the minute, without the shard's base."""
        names = {name.decode() for name in await self.client.keys("*")}
        assert all(name.startswith(self.keys.base) for name in names), names
        minutes = self.keys.stats + ":"
        return {name.removeprefix(self.keys.base) for name in names if not name.startswith(minutes)}

    @asynccontextmanager
    async def unchanged(self, *, but: Sequence[str] = ()) -> AsyncIterator[None]:
        """Asserts that the store is the same after the block, but for keys that begin with one of `but`.

        The audit log is no part of it: it has what was tried."""
        before = await self.snapshot(without=but)
        yield
        assert await self.snapshot(without=but) == before

    async def snapshot(self, *, without: Sequence[str] = ()) -> Snapshot:
        """Every key, its value as DUMP gives it, and whether it has a TTL; but for keys that begin with `without`."""
        names = sorted(await self.client.keys("*"))
        names = [name for name in names if not name.decode().startswith(tuple(without))]
        names = [name for name in names if not name.endswith(b"}:audit")]
        pipeline = self.client.pipeline(transaction=False)
        for name in names:
            pipeline.dump(name)
            pipeline.pttl(name)
        replies = await pipeline.execute()
        pairs = zip(replies[::2], replies[1::2], strict=True)
        return {name.decode(): (dump, ttl >= 0) for name, (dump, ttl) in zip(names, pairs, strict=True)}


async def until_loading(client: Redis) -> None:
    """Wait until a server that was started with SLOW_LOADING says that it loads."""
    async with asyncio.timeout(START_PATIENCE):
        while True:
            try:
                await client.ping()
            except redis_errors.BusyLoadingError:
                return
            except redis_errors.ConnectionError:
                await asyncio.sleep(0.01)  # as above


def client_for(url: str, *, timeout: float = 10.0, max_connections: int = 8) -> StoreClient:
    return connect(url, timeout=timeout, max_connections=max_connections)

"""Faults of the store's process and of what it is asked to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import ClassVar

from redis.exceptions import RedisError

from queuey.store.keys import ShardKeys
from tests.faults.evidence.invariants import Evidence
from tests.faults.evidence.ledger import Event, now
from tests.faults.faults.base import Fault, every_call_answered, forgotten, no_crash_of_what_ran, no_crashes
from tests.faults.load.calls import Caller
from tests.faults.system.rig import Rig, Setup


class KillStore(Fault):
    """SIGKILL of the embedded store, sometimes twice. The replicas start it again, and no running job's lease is lost.

    A claim may be on disk though its reply died with the store. If the store is away for longer than a lease, as on a
    busy machine, its worker claims again with another id, and the lease of that claim expires: no worker knows of it.
    """

    name = "kill-store"

    async def inject(self, rig: Rig, caller: Caller) -> str:
        pids = [await rig.kill_store()]
        if self.rng.random() < 0.3:
            await asyncio.sleep(self.rng.uniform(0.2, 0.6))
            pids.append(await rig.kill_store())
        return f"pid {pids}"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crash_of_what_ran(evidence)


class KillStoreInRewrite(Fault):
    """SIGKILL of the embedded store while it rewrites its append-only file."""

    name = "kill-store-in-rewrite"

    async def inject(self, rig: Rig, caller: Caller) -> str:
        await rig.store.config_set("rdb-key-save-delay", 10_000)  # µs, so that the rewrite takes some time
        await rig.store.bgrewriteaof()
        await asyncio.sleep(self.rng.uniform(0.0, 0.5))
        under_way = (await rig.store.info("persistence"))["aof_rewrite_in_progress"]
        pid = await rig.kill_store()
        return f"pid {pid}, {'during' if under_way else 'after'} the rewrite"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crash_of_what_ran(evidence)


class FlushScripts(Fault):
    """SCRIPT FLUSH, several times: nobody notices."""

    name = "flush-scripts"

    async def inject(self, rig: Rig, caller: Caller) -> str:
        times = self.rng.randint(1, 4)
        for _ in range(times):
            await rig.store.script_flush()
            await asyncio.sleep(self.rng.uniform(0.0, 0.2))
        return f"{times} times"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crashes(evidence)
        yield from every_call_answered(evidence)


class BusyScript(Fault):
    """Another client's script never ends. The store answers BUSY, until SCRIPT KILL."""

    name = "busy-script"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = rng.uniform(0.8, 2.5)
        self._endless: asyncio.Task[None] | None = None

    async def inject(self, rig: Rig, caller: Caller) -> str:
        await rig.store.config_set("busy-reply-threshold", 50)
        self._endless = asyncio.create_task(_run_endless_script(rig))
        return f"for {self.hold:.1f} s"

    async def heal(self, rig: Rig) -> None:
        async with asyncio.timeout(5):
            while self._endless is not None and not self._endless.done():
                with suppress(RedisError):  # NOTBUSY, when it has not begun yet
                    await rig.store.script_kill()
                await asyncio.sleep(0.02)

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crashes(evidence)


async def _run_endless_script(rig: Rig) -> None:
    with suppress(RedisError):  # it is killed, and says so
        await rig.store.eval("while true do end", 0)


class FlushStore(Fault):
    """FLUSHALL: every job is gone, and the system goes on as on a new store.

    What was answered before is read as unknown, and its jobs count as forgotten and not as lost. A job that is sent
    again after that begins with the first claim again, so 4 is waived. For a minute the gate lets no job be set aside
    by type (docs/adr/0020-feature-gate.md): one that its worker has no room for is due later, so 6 is waived. All other
    invariants hold for what came later.
    """

    name = "flush-store"
    waived: ClassVar[frozenset[int]] = frozenset({4, 6})
    patience: ClassVar[float] = 10.0
    _flushed_at = 0
    _registered = False

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = rng.uniform(1.0, 2.0)

    def prepare(self, setup: Setup) -> None:
        setup.replica_flags += ["--beat-interval", "200ms"]

    async def inject(self, rig: Rig, caller: Caller) -> str:
        await rig.store.flushall()
        self._flushed_at = now()
        return "all keys"

    async def heal(self, rig: Rig) -> None:
        """Wait until heartbeats have registered the replicas again. What has not by then is found by the checks."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience):
                while not all(await rig.store.hmget(ShardKeys(0).meta, "format", "shards", "store_id")):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                self._registered = True

    def revise(self, events: Sequence[Event]) -> Sequence[Event]:
        return forgotten(events, 0, self._flushed_at)

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crash_of_what_ran(evidence)
        if not self._registered:
            yield "no replica has registered on the emptied store"
        if not evidence.history.must_exist():
            yield "no job was accepted by the emptied store"

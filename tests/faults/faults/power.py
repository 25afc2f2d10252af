"""Power cuts: the store ends, and of what it wrote only that is left which it had synced."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import ClassVar, Final

from redis.exceptions import RedisError

from queuey.store.connections.pipelined import connect
from queuey.store.embedded.aof import ends_in_zero, last_increment
from queuey.store.embedded.data_dir import exclusively
from tests.faults.evidence.invariants import Evidence
from tests.faults.faults.base import Fault, no_crashes
from tests.faults.load.calls import Caller
from tests.faults.power.disk import SHIM, Disk, Rest
from tests.faults.store.processes import kill_all, processes_in
from tests.faults.system import preload
from tests.faults.system.rig import Rig, Setup

LOCK_SECONDS: Final = 20.0
HOLD_PATIENCE: Final = 2.0
REWRITE_TIMEOUT: Final = 1.0
POLL: Final = 0.005
AT_A_SYNC: Final = "before sync appendonly"


class PowerCut(Fault):
    """The power fails twice, the second time right after the restart. Nothing that was acknowledged is missing.

    Either the store alone loses its power, or the whole machine does, with all replicas. It fails at any moment, or
    between a write and its sync.
    """

    name = "power-cut"
    rest: Rest = "plain"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._whole_machine = rng.random() < 0.3
        self._zero_tails = 0

    @classmethod
    def missing(cls) -> list[str]:
        return preload.missing()

    def prepare(self, setup: Setup) -> None:
        setup.store_folder.mkdir(mode=0o700)
        self._logs = setup.folder
        self.disk = Disk(setup.store_folder, setup.folder)
        preload.into_store(setup, preload.build(SHIM, setup.folder), self.disk.variables)

    async def inject(self, rig: Rig, caller: Caller) -> str:
        cuts = [await self.cut(rig, await self.moment(rig))]
        await _until_started(rig)
        cuts.append(await self.cut(rig, self.rng.choice(("", AT_A_SYNC))))
        return f"{'whole machine' if self._whole_machine else 'store'}: {'; '.join(cuts)}"

    async def moment(self, rig: Rig) -> str:
        """Where the store is to be when the power fails, '' = anywhere."""
        return self.rng.choice(("", AT_A_SYNC, AT_A_SYNC))

    async def cut(self, rig: Rig, where: str) -> str:
        folder = rig.setup.store_folder
        async with exclusively(folder / "start.lock", LOCK_SECONDS):  # so that nobody starts it before we are done
            if where:
                self.disk.hold(where)
                await self._until_held()
            if self._whole_machine:
                for replica in rig.replicas:
                    replica.send(signal.SIGKILL)
                (folder / "users.lock").write_bytes(b"")  # nobody has synced the note in it
            kill_all(folder)
            done = self.disk.cut(self.rest, self.rng)
            file = last_increment(folder)
            self._zero_tails += file is not None and ends_in_zero(file)
            return done

    async def _until_held(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(HOLD_PATIENCE):
                while not self.disk.held():  # noqa: ASYNC110 - the store cannot tell us
                    await asyncio.sleep(POLL)

    async def heal(self, rig: Rig) -> None:
        self.disk.let_go()  # when the round was interrupted

    def expect(self, evidence: Evidence) -> Iterator[str]:
        if not self.disk.syncs:
            yield "no sync of the store was seen"
        mended = sum(log.read_text().count('"store_mended"') for log in self._logs.glob("replica*.log"))
        if mended != self._zero_tails:
            yield f"{self._zero_tails} files ended in zeros, and {mended} were mended"
        if not self._whole_machine:
            yield from no_crashes(evidence)


class TornPowerCut(PowerCut):
    """Of what followed the last sync, some is left."""

    name = "power-cut-torn"
    rest = "torn"


class ZeroFilledPowerCut(PowerCut):
    """The file is as long as it was, and its unsynced end is zeros: the server alone would not start, or take them."""

    name = "power-cut-zeros"
    rest = "zeros"


class PowerCutInRewrite(PowerCut):
    """The power fails somewhere in a rewrite of the append-only file, or at one of its steps."""

    name = "power-cut-in-rewrite"
    steps: ClassVar = (
        "",
        "before move appendonly.aof.manifest",
        "after move appendonly.aof.manifest",
        "before dir appendonlydir",
        "after dir appendonlydir",
        "before sync temp-rewriteaof",
        "after sync temp-rewriteaof",
        "after move temp-rewriteaof-bg",
        "before move appendonly.aof.2.base.rdb",
        "after move appendonly.aof.2.base.rdb",
    )

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.rest = rng.choice(("plain", "torn", "zeros"))
        self._step = rng.choice(self.steps)
        self._from_the_start = rng.random() < 0.4

    async def moment(self, rig: Rig) -> str:
        await rig.store.config_set("rdb-key-save-delay", 2_000)  # µs, so that the rewrite takes some time
        if self._from_the_start:
            self.disk.hold(self._step)
        async with connect(rig.store_url, timeout=REWRITE_TIMEOUT, max_connections=1) as client:
            with suppress(RedisError):  # there is no answer when it is to stop at the first step
                await client.bgrewriteaof()
        if not self._step:
            await asyncio.sleep(self.rng.uniform(0.0, 0.5))
        return self._step


async def _until_started(rig: Rig) -> None:
    async with asyncio.timeout(LOCK_SECONDS):
        while not processes_in(rig.setup.store_folder):  # noqa: ASYNC110 - it is no child of ours
            await asyncio.sleep(POLL)

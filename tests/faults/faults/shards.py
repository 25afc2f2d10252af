"""Faults of one shard while the others are well."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Final

from queuey.protocol import ids
from tests.faults.evidence.invariants import Evidence
from tests.faults.faults.base import no_crash_of_what_ran
from tests.faults.faults.connections import ConnectionFault
from tests.faults.faults.deeds import request
from tests.faults.load.calls import Caller
from tests.faults.load.handlers import Deed
from tests.faults.store.view import TERMINAL, read_store
from tests.faults.system.rig import UNPULLED, Rig, Setup

SHARDS: Final = 3
SILENT: Final = 1
JOBS: Final = 12
PATIENCE: Final = 15.0
"""Seconds for the jobs of the other shards. Without the safeguard they wait until the silent one answers."""


class SilentShard(ConnectionFault):
    """One shard answers nothing for longer than a lease: what it is asked reaches the store, until connections are made
    again. Jobs of the other shards run meanwhile, and every replica stays ready and names it."""

    name = "silent-shard"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = rng.uniform(1.0, 3.0)
        self._waiting: list[str] = []
        self._ready: list[object] = []

    def prepare(self, setup: Setup) -> None:
        super().prepare(setup)
        setup.apart = SILENT
        setup.shards = SHARDS

    async def inject(self, rig: Rig, caller: Caller) -> str:
        rig.apart.hold_replies(True)
        jobs = [self._elsewhere() for _ in range(JOBS)]
        for job in jobs:
            await caller.enqueue([job])
        self._waiting = [str(job["id"]) for job in jobs]
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self._waiting:
                    stored = (await read_store(rig.store)).jobs
                    self._waiting = [i for i in self._waiting if i not in stored or stored[i].status not in TERMINAL]
                    await asyncio.sleep(0.05)
        for replica in rig.replicas:
            self._ready.append(await self._named(rig, f"{replica.url}/readyz"))
        return f"{JOBS} jobs of the others came, then {self.hold:.1f} s"

    async def _named(self, rig: Rig, url: str) -> object:
        """Return the answer that names a silent shard, or the last one. A shard counts as up for a second after one."""
        answer: tuple[int, object] = (0, None)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while answer in ((0, None), (200, None)):
                    reply = await rig.http.get(url)
                    answer = (reply.status_code, reply.json().get("silent_shards"))
                    await asyncio.sleep(0.05)
        return answer

    def _elsewhere(self) -> dict[str, object]:
        """A job of another shard, for the workers of the replicas."""
        while True:
            job = request("loop", Deed(), queue=UNPULLED)
            if ids.bucket_of(str(job["id"])) % SHARDS != SILENT:
                return job

    async def heal(self, rig: Rig) -> None:
        rig.apart.hold_replies(False)

    def expect(self, evidence: Evidence) -> Iterator[str]:
        if self._waiting:
            yield f"{len(self._waiting)} jobs of the other shards did not run while one was silent"
        if any(answer != (200, [SILENT]) for answer in self._ready):
            yield f"/readyz answered {self._ready} while shard {SILENT} was silent"
        yield from no_crash_of_what_ran(evidence)

"""A full disk."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import ClassVar, Final

from redis.exceptions import RedisError

from tests.faults import mounts
from tests.faults.calls import Caller
from tests.faults.faults.base import Fault, no_crashes
from tests.faults.invariants import Evidence
from tests.faults.rig import Rig, Setup

SIZE: Final = 32 << 20
"""Bytes of the store's disk."""
BLOCK: Final = 1 << 20
LEAST: Final = 1 << 12
FILL_EVERY: Final = 0.05


class DiskFull(Fault):
    """The store's disk is full for a while. The store ends with the first write that fails, and comes back, and ends.

    Nothing that was acknowledged is lost.
    """

    name = "disk-full"
    needs = mounts.TOOLS
    own_mounts: ClassVar[bool] = True

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = 0.0
        self._seconds = rng.uniform(0.5, 4.0)
        self._rewrites = rng.random() < 0.3
        self._folder: Path | None = None
        self._store_ended = False

    @classmethod
    def missing(cls) -> list[str]:
        return mounts.missing()

    def prepare(self, setup: Setup) -> None:
        setup.store_folder.mkdir(mode=0o700)
        mounts.mount_memory(setup.store_folder, SIZE)
        self._folder = setup.store_folder

    async def inject(self, rig: Rig, caller: Caller) -> str:
        pid = await rig.store_answers()
        if self._rewrites:
            with suppress(RedisError):
                await rig.store.bgrewriteaof()
        filler = rig.setup.store_folder / "filler"
        give_up = time.monotonic() + self._seconds
        while time.monotonic() < give_up:
            await asyncio.to_thread(_fill, filler)
            await asyncio.sleep(FILL_EVERY)
        filler.unlink()
        self._store_ended = await rig.store_answers() != pid
        return f"for {self._seconds:.1f} s{', in a rewrite' if self._rewrites else ''}"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        if not self._store_ended:
            yield "the store did not notice that its disk was full"
        yield from no_crashes(evidence)

    async def clean_up(self) -> None:
        if self._folder is not None:
            mounts.unmount(self._folder)


def _fill(filler: Path) -> None:
    """Write until not even a page is free."""
    block = BLOCK
    with filler.open("ab", buffering=0) as file:
        while block >= LEAST:
            try:
                file.write(bytes(block))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                block //= 2

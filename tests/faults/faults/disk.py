"""A full disk."""

from __future__ import annotations

import asyncio
import errno
import resource
import shlex
import time
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import ClassVar, Final, Protocol

from redis.exceptions import RedisError

from queuey.store.embedded.aof import last_increment
from tests.faults.evidence.invariants import Evidence
from tests.faults.faults.base import Fault, no_crashes
from tests.faults.load.calls import Caller
from tests.faults.store.processes import processes_in
from tests.faults.system import mounts
from tests.faults.system.preload import wrap_store
from tests.faults.system.rig import Rig, Setup

SIZE: Final = 32 << 20
"""Bytes of the small disk."""
PAGE: Final = 1 << 12
SECTOR: Final = 512
FILL_EVERY: Final = 0.05


class Space(Protocol):
    """What the store has to write to. `fill` is called again and again."""

    how: str

    def fill(self) -> None: ...

    def free(self) -> None: ...

    def remove(self) -> None: ...


class SmallDisk:
    """A file system of its own, filled up with a file."""

    how = "a small disk is"

    def __init__(self, setup: Setup) -> None:
        self._folder = setup.store_folder
        self._filler = self._folder / "filler"
        mounts.mount_memory(self._folder, SIZE)

    def fill(self) -> None:
        """Until not even a page is free."""
        block = SIZE // 8
        with self._filler.open("ab", buffering=0) as file:
            while block >= PAGE:
                try:
                    file.write(bytes(block))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    block //= 2

    def free(self) -> None:
        self._filler.unlink()

    def remove(self) -> None:
        mounts.unmount(self._folder)


class FileLimit:
    """Where nothing can be mounted: no file of the store's may grow beyond what the append-only file has now."""

    how = "the store's files are"

    def __init__(self, setup: Setup) -> None:
        self._folder = setup.store_folder
        self._limit = setup.folder / "file-limit"
        limit = shlex.quote(str(self._limit))
        # A store that has read the limit in the moment of its removal ends once more, and is then free.
        wrap_store(setup, before=f"trap '' XFSZ\n[ ! -e {limit} ] || ulimit -S -f $(cat {limit})")

    def fill(self) -> None:
        file = last_increment(self._folder)
        if not self._limit.exists() and file is not None:
            sectors = file.stat().st_size // SECTOR + 1
            self._limit.write_text(str(sectors))
            self._set(sectors * SECTOR)

    def free(self) -> None:
        self._limit.unlink()
        self._set(resource.RLIM_INFINITY)

    def _set(self, size: int) -> None:
        for pid in processes_in(self._folder):
            with suppress(ProcessLookupError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))

    def remove(self) -> None:
        """It is in the round's folder."""


class DiskFull(Fault):
    """The store's disk is full for a while. The store ends with the first write that fails, and comes back, and ends.

    Nothing that was acknowledged is lost.
    """

    name = "disk-full"
    own_mounts: ClassVar[bool] = True

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = 0.0
        self._seconds = rng.uniform(0.5, 4.0)
        self._rewrites = rng.random() < 0.3
        self._space: Space | None = None
        self._store_ended = False

    def prepare(self, setup: Setup) -> None:
        setup.store_folder.mkdir(mode=0o700)
        self._space = SmallDisk(setup) if mounts.inside() else FileLimit(setup)

    async def inject(self, rig: Rig, caller: Caller) -> str:
        assert self._space is not None
        pid = await rig.store_answers()
        if self._rewrites:
            with suppress(RedisError):
                await rig.store.bgrewriteaof()
        give_up = time.monotonic() + self._seconds
        while time.monotonic() < give_up:
            await asyncio.to_thread(self._space.fill)
            await asyncio.sleep(FILL_EVERY)
        self._space.free()
        self._store_ended = await rig.store_answers() != pid
        return f"{self._space.how} full for {self._seconds:.1f} s{', in a rewrite' if self._rewrites else ''}"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        if not self._store_ended:
            yield "the store did not notice that its disk was full"
        yield from no_crashes(evidence)

    async def clean_up(self) -> None:
        if self._space is not None:
            self._space.remove()

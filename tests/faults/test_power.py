"""The power cut: the shim sees every sync of the real store, and a cut leaves what is on the disk and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from redis.exceptions import RedisError

from queuey.store.connections.pipelined import connect
from queuey.store.embedded.aof import FOLDER
from queuey.store.embedded.process import Fsync
from queuey.store.embedded.unix_socket import SOCKET_NAME
from tests.faults.power.disk import SHIM, Disk, Rest
from tests.faults.store.external import ExternalStore
from tests.faults.system import preload
from tests.faults.system.rig import Setup

INCREMENT = "appendonly.aof.1.incr.aof"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="loads a library with LD_PRELOAD")
needs_compiler = pytest.mark.needs(preload.COMPILER)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the folders of a store in it."""
    (tmp_path / "data" / FOLDER).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def disk(folder: Path) -> Disk:
    return Disk(folder / "data", folder)


def record(folder: Path, *lines: str) -> None:
    (folder / "power.record").write_text("".join(f"{line}\n" for line in lines))


def written(folder: Path, name: str, text: bytes) -> tuple[Path, int]:
    """A file of the store's, and its inode."""
    file = folder / "data" / FOLDER / name
    file.write_bytes(text)
    return file, file.stat().st_ino


# --- what is left -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "left"),
    [
        ("plain", {b"synced"}),
        ("torn", {b"synced" + b"lost"[:length] for length in range(5)}),
        ("zeros", {b"synced" + b"lost"[:length] + bytes(4 - length) for length in range(5)}),
    ],
)
def test_what_is_left_of_a_file(folder: Path, disk: Disk, rest: Rest, left: set[bytes]) -> None:
    seen = set()
    for seed in range(60):
        file, inode = written(folder, INCREMENT, b"syncedlost")
        record(folder, f"sync {inode} 6 {file}")
        assert "4 bytes unsynced after 1 syncs" in disk.cut(rest, Random(seed))
        seen.add(file.read_bytes())
    assert seen == left


def test_a_file_that_was_never_synced_is_empty(folder: Path, disk: Disk) -> None:
    file, _ = written(folder, INCREMENT, b"lost")
    disk.cut("plain", Random(1))
    assert file.read_bytes() == b""


def test_what_is_left_is_there_at_the_next_cut(folder: Path, disk: Disk) -> None:
    file, inode = written(folder, INCREMENT, b"syncedlost")
    record(folder, f"sync {inode} 6 {file}")
    disk.cut("plain", Random(1))
    with file.open("ab") as more:
        more.write(b"lost again")
    disk.cut("plain", Random(1))
    assert file.read_bytes() == b"synced"
    assert disk.syncs == 1


def test_a_file_that_was_shortened_has_not_got_its_end_back(folder: Path, disk: Disk) -> None:
    file, inode = written(folder, INCREMENT, b"shornlost")
    record(folder, f"sync {inode} 20 {file}", f"cut {inode} 5 {file}")
    disk.cut("plain", Random(1))
    assert file.read_bytes() == b"shorn"


def replaced(folder: Path, *, then: str = "") -> Path:
    """A manifest in whose place another was moved, as the shim writes it down."""
    manifest, first = written(folder, "manifest", b"first")
    (folder / "power.kept" / "1-1").hardlink_to(manifest)
    temp, second = written(folder, "temp", b"second")
    temp.rename(manifest)
    move = f"move {second} 1-1 {FOLDER}/temp\t{FOLDER}/manifest"
    record(folder, f"sync {first} 5 {manifest}", f"sync {second} 6 {temp}", move, *([then] if then else []))
    return manifest


def test_a_name_is_on_the_disk_once_its_folder_is_synced(tmp_path: Path) -> None:
    left = set()
    for seed in range(20):
        for synced in (True, False):
            folder = tmp_path / f"{seed}{synced}"
            (folder / "data" / FOLDER).mkdir(parents=True)
            disk = Disk(folder / "data", folder)
            then = f"dir {(folder / 'data' / FOLDER).stat().st_ino} {FOLDER}" if synced else ""
            manifest = replaced(folder, then=then)
            disk.cut("plain", Random(seed))
            left.add((synced, manifest.read_bytes()))
    assert left == {(True, b"second"), (False, b"first"), (False, b"second")}


def test_a_removed_file_may_be_back(folder: Path) -> None:
    back = set()
    for seed in range(20):
        data, files = folder / f"{seed}" / "data", folder / f"{seed}"
        (data / FOLDER).mkdir(parents=True)
        disk = Disk(data, files)
        file, inode = written(files, "old", b"old")
        (files / "power.kept" / "1-1").hardlink_to(file)
        file.unlink()
        record(files, f"sync {inode} 3 {file}", f"gone {inode} 1-1 {FOLDER}/old")
        disk.cut("plain", Random(seed))
        back.add(file.exists())
    assert back == {True, False}


# --- what is seen -------------------------------------------------------------------------------------------------


class Store:
    """A real store with the shim in it."""

    def __init__(self, folder: Path, fsync: Fsync) -> None:
        self.setup = Setup(folder, fsync=fsync)
        self.data = self.setup.store_folder
        self.data.mkdir()
        self.disk = Disk(self.data, folder)
        library = preload.build(SHIM, folder)
        self.setup.store_environment = {"LD_PRELOAD": str(library), **self.disk.variables}
        self.process = ExternalStore(self.setup)
        self.client: Any = connect(f"unix://{self.data / SOCKET_NAME}", timeout=5.0, max_connections=1)
        self.pid = 0

    async def start(self) -> None:
        await self.process.start()

        async def answers() -> bool:
            with suppress(RedisError):
                self.pid = (await self.client.info("server"))["process_id"]
                return True
            return False

        await until(answers)

    async def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        await self.process.ended()

    async def stop(self) -> None:
        await self.client.aclose()
        await self.process.stop()

    @property
    def unsynced(self) -> int:
        """Bytes of the append-only file that are not on the disk for certain."""
        file = (self.data / FOLDER / INCREMENT).stat()
        return file.st_size - self.disk.read().lengths.get(file.st_ino, 0)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Nothing tells when a file has changed, or a store answers."""
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(folder: Path, fsync: Fsync = "always") -> AsyncIterator[Store]:
    store = Store(folder, fsync)
    try:
        await store.start()
        yield store
    finally:
        await store.stop()


async def is_held(store: Store) -> bool:
    return bool(store.disk.read().held)


@on_linux
@needs_compiler
async def test_under_always_all_is_synced_before_the_reply(tmp_path: Path) -> None:
    async with running(tmp_path) as store:
        for number in range(20):
            await store.client.set(f"key{number}", "x" * number)
            assert store.unsynced == 0


@on_linux
@needs_compiler
async def test_under_everysec_the_syncs_of_another_thread_are_seen(tmp_path: Path) -> None:
    async def all_synced() -> bool:
        return store.unsynced == 0

    async with running(tmp_path, "everysec") as store:
        await store.client.set("key", "value")
        await until(all_synced)
        store.disk.hold("before sync appendonly")
        await store.client.set("key", "another")
        assert store.unsynced > 0
        await store.kill()  # it would wait for that thread


@on_linux
@needs_compiler
async def test_what_no_sync_has_ended_for_is_gone_after_the_cut(tmp_path: Path) -> None:
    async with running(tmp_path) as store:
        await store.client.set("kept", "1")
        store.disk.hold("before sync appendonly")
        lost = asyncio.create_task(store.client.set("lost", "1"))
        await until(lambda: is_held(store))
        assert not lost.done()
        await store.kill()
        with pytest.raises(RedisError):
            await lost
        assert store.disk.cut("plain", Random(1)).endswith(f"before sync {INCREMENT}")
        await store.start()
        assert await store.client.keys("*") == [b"kept"]


@on_linux
@needs_compiler
async def test_a_store_that_was_held_can_go_on(tmp_path: Path) -> None:
    async with running(tmp_path) as store:
        store.disk.hold("before sync appendonly")
        kept = asyncio.create_task(store.client.set("kept", "1"))
        await until(lambda: is_held(store))
        store.disk.let_go()
        await kept
        assert store.unsynced == 0


@on_linux
@needs_compiler
async def test_a_rewrite_has_synced_its_files_and_their_names(tmp_path: Path) -> None:
    async def done() -> bool:
        info = await store.client.info("persistence")
        return not info["aof_rewrite_in_progress"] and not list((store.data / FOLDER).glob(f"{INCREMENT}*"))

    async with running(tmp_path) as store:
        await store.client.set("key", "value")
        await store.client.bgrewriteaof()
        await until(done)
        in_doubt = [change for change in store.disk.read().pending if change.new.startswith(FOLDER)]
        assert all(not change.old for change in in_doubt)  # old files, which nobody needs, are not gone for certain
        await store.kill()
        assert store.disk.cut("plain", Random(1)).startswith("0 bytes unsynced")
        await store.start()
        assert await store.client.get("key") == b"value"

"""The embedded store: started, killed, restarted and stopped, with a real server."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from pathlib import Path
from unittest.mock import ANY

import pytest
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as StoreGone

from queuey.errors import StartupError
from queuey.store.embedded import store as embedded
from queuey.store.embedded.data_dir import FileLock
from queuey.store.embedded.process import LOG_LIMIT, Fsync
from queuey.store.embedded.store import EmbeddedStore
from tests.integration.store.conftest import MakeUser
from tests.support.store_users import User, alive, command

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


async def test_it_is_configured_to_keep_what_it_acknowledges(make_user: MakeUser) -> None:
    user = make_user(maxmemory=None)
    await user.start()

    expected = {
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "save": "",
        "aof-load-truncated": "yes",
        "aof-use-rdb-preamble": "yes",
        "maxmemory-policy": "noeviction",
        "enable-debug-command": "no",
        "unixsocketperm": "700",
        "databases": "1",
        "port": "0",
    }
    assert await user.command("CONFIG", "GET", *expected) == expected
    assert 32 << 20 < int(await user.config("maxmemory")) == user.store._maxmemory


@linux_only
async def test_no_tcp_port_is_open(make_user: MakeUser) -> None:
    user = make_user()
    await user.start()

    process = Path("/proc", str(user.pid))
    open_files = {os.readlink(fd) for fd in (process / "fd").iterdir()}
    sockets = {link[8:-1] for link in open_files if link.startswith("socket:")}
    listed = (process / "net" / "tcp").read_text() + (process / "net" / "tcp6").read_text()
    tcp = {line.split()[9] for line in listed.splitlines() if "inode" not in line}
    assert sockets
    assert not sockets & tcp


@linux_only
async def test_the_server_gets_a_session_and_one_lock(make_user: MakeUser, tmp_path: Path) -> None:
    user = make_user()
    await user.start()

    process = Path("/proc", str(user.pid))
    links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
    assert [link for link in links if link.endswith(".lock")] == [str(tmp_path / "data" / "server.lock")]
    assert os.getsid(user.pid) == user.pid


async def test_nobody_else_can_reach_it(make_user: MakeUser, tmp_path: Path) -> None:
    user = make_user()
    await user.start()

    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "valkey.sock").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("fsync", ["always", "everysec", "no"])
async def test_a_stop_loses_nothing(make_user: MakeUser, fsync: Fsync) -> None:
    user = make_user(fsync=fsync)
    await user.start()
    assert await user.config("appendfsync") == fsync
    await user.command("MSET", *(word for n in range(1000) for word in (f"key{n}", "x" * 100)))
    first = user.pid
    await user.stop()
    assert user.events.names == ["store_started", "store_stopped"]
    assert not alive(first)
    assert user.store.pid is None

    await user.start()
    assert user.pid != first
    assert await user.command("DBSIZE") == 1000


async def test_it_starts_once(make_user: MakeUser) -> None:
    user = make_user()
    await user.start()
    with pytest.raises(RuntimeError, match="already started"):
        await user.store.start()


async def test_a_killed_server_is_restarted_with_its_data(make_user: MakeUser) -> None:
    user = make_user()
    await user.start()
    for round_ in range(3):
        await user.command("RPUSH", "rounds", str(round_))
        killed = user.pid
        user.kill_server()
        assert await user.events.next("store_lost") == {"pid": killed}
        started = await user.events.next("store_started")
        assert started["pid"] == user.pid != killed
    assert await user.command("LRANGE", "rounds", "0", "-1") == ["0", "1", "2"]


async def test_what_a_crash_leaves_is_in_nobodys_way(make_user: MakeUser, tmp_path: Path) -> None:
    user = make_user()
    await user.start()
    await user.command("SET", "key", "value")
    await user.stop()
    stale = tmp_path / "data" / "valkey.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(stale))
    half_written = tmp_path / "data" / "temp-rewriteaof-1234.aof"
    half_written.write_text("half")
    (tmp_path / "data" / "start.lock").write_text(str(os.getpid()))  # its holder's, dead or another by now

    await user.start()
    assert await user.command("GET", "key") == "value"
    assert not half_written.exists()


def loading_slowly(seconds: int) -> tuple[str, ...]:
    """Arguments of a server that takes so long to load the keys of `fill`."""
    return ("--key-load-delay", str(seconds * 1000), "--loading-process-events-interval-bytes", "1024")


async def fill(user: User) -> None:
    """1000 keys in the base file, where the server looks at its connections between any two while it loads."""
    await user.start()
    await user.command("MSET", *(word for n in range(1000) for word in (f"key{n}", "x" * 1000)))
    await user.command("BGREWRITEAOF")
    async with asyncio.timeout(20):
        while (await user.command("INFO", "persistence"))["aof_rewrite_in_progress"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await user.stop()


async def until_loading(url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await command(url, "PING")
            except BusyLoadingError:
                return
            except StoreGone:
                await asyncio.sleep(0.01)


async def test_start_waits_until_the_data_is_loaded(make_user: MakeUser) -> None:
    await fill(make_user())
    one, two = make_user(extra_args=loading_slowly(1)), make_user()
    first = asyncio.create_task(one.start())
    await until_loading(one.store.url)
    await two.start()
    assert await two.command("DBSIZE") == 1000
    await first
    assert one.pid == two.pid


async def test_loading_has_a_limit(make_user: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(make_user())
    monkeypatch.setattr(embedded, "LOADING_SECONDS", 0.2)
    user = make_user(extra_args=loading_slowly(10))
    with pytest.raises(StartupError, match="still loading"):
        await user.start()
    assert user.events.names == ["store_stopped"]


async def test_a_start_that_is_cancelled_leaves_nothing(make_user: MakeUser, tmp_path: Path) -> None:
    user = make_user()
    starting = asyncio.create_task(user.store.start())
    lock = FileLock(tmp_path / "data" / "server.lock")
    async with asyncio.timeout(10):
        while not (tmp_path / "data").exists() or lock.try_acquire():
            lock.release()
            await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert lock.try_acquire()
    lock.release()


async def test_a_server_that_cannot_start_says_why(make_user: MakeUser, tmp_path: Path) -> None:
    user = make_user(extra_args=("--no-such-option", "1"))
    with pytest.raises(StartupError, match=r"exit code 1.*no-such-option.*valkey\.log"):
        await user.start()
    await make_user().start()


async def test_a_server_that_cannot_start_on_a_full_disk_says_that(
    make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "ROOM", 1 << 70)
    with pytest.raises(StartupError, match=r"The disk of .* is full: make room, or give another --data-dir\."):
        await make_user(extra_args=("--no-such-option", "1")).start()


async def test_an_unusable_directory_is_refused(make_user: MakeUser, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="not a directory"):
        await make_user(tmp_path / "file").start()


async def test_a_power_cut_leaves_the_names_of_its_folders(
    make_user: MakeUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.fstat(fd).st_ino))
    data = tmp_path / "new" / "data"
    await make_user(data).start()
    monkeypatch.undo()
    folders = [data, data.parent, tmp_path, Path("/")]
    assert {folder.stat().st_ino for folder in folders} <= synced


async def test_a_power_cut_that_may_cost_the_names_is_an_error(
    make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "broken disk")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(StartupError, match="broken disk"):
            await make_user().start()
    await make_user().start()


async def test_restarting_goes_on_when_it_fails(make_user: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    user = make_user()
    await user.start()
    with monkeypatch.context() as broken:
        broken.setattr(embedded, "find_binary", lambda: Path("/nowhere/valkey-server"))
        user.kill_server()
        assert (await user.events.next("store_restart_failed"))["attempt"] == 1
        failed = await user.events.next("store_restart_failed")
    assert failed["attempt"] == 2
    assert "/nowhere/valkey-server" in failed["error"]
    await user.events.next("store_started")


@linux_only
async def test_a_server_whose_socket_was_removed_is_started_again(make_user: MakeUser, tmp_path: Path) -> None:
    """Its connections still work, and no new one does."""
    user = make_user()
    await user.start()
    await user.command("SET", "k", "v")
    first = user.pid
    Path(user.store.url.removeprefix("unix://")).unlink()

    assert await user.events.next("store_socket_removed") == {"pid": first, "socket": ANY}
    assert (await user.events.next("store_started"))["pid"] != first
    assert not Path("/proc", str(first)).exists(), "no zombie either"
    assert await user.command("GET", "k") == "v"


async def test_a_stop_ends_a_server_whose_socket_was_removed(make_user: MakeUser) -> None:
    starter, user = make_user(), make_user()
    await starter.store.start()  # which nobody supervises
    await user.store.start()
    await starter.stop()
    pid = user.pid
    Path(user.store.url.removeprefix("unix://")).unlink()
    await user.stop()
    assert "store_stopped" in user.events.names
    assert not alive(pid)


async def test_a_stopped_store_is_not_restarted(make_user: MakeUser) -> None:
    user = make_user()
    await user.store.start()
    running = asyncio.create_task(user.store.run())
    await user.store.stop()
    async with asyncio.timeout(10):
        await running
    assert "store_stopped" in user.events.names
    with pytest.raises(StoreGone):
        await user.command("PING")


async def test_a_log_is_put_aside_when_it_is_large(make_user: MakeUser, tmp_path: Path) -> None:
    user = make_user()
    await user.start()
    await user.stop()
    log = tmp_path / "data" / "valkey.log"
    os.truncate(log, LOG_LIMIT + 1)

    await user.start()
    assert log.stat().st_size < LOG_LIMIT
    assert (tmp_path / "data" / "valkey.log.1").stat().st_size == LOG_LIMIT + 1


async def test_extra_arguments_win(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "data", maxmemory=64 << 20, extra_args=("--maxmemory", "50mb"))
    await store.start()
    try:
        assert await command(store.url, "CONFIG", "GET", "maxmemory") == {"maxmemory": str(50 << 20)}
    finally:
        await store.stop()

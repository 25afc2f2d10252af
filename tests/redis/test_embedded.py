"""The embedded store: started, shared, left, killed and restarted, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as StoreGone

from queuey import data_dir, embedded
from queuey.data_dir import FileLock
from queuey.embedded import EmbeddedStore
from queuey.errors import StartupError
from queuey.store_process import LOG_LIMIT, Fsync
from tests.support.store_users import OtherUser, User, alive, command, until_dead

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

MakeUser = Callable[..., User]
MakeOther = Callable[..., OtherUser]


@pytest.fixture
async def make_user(tmp_path: Path) -> AsyncIterator[MakeUser]:
    """Makes users of one data directory. Afterwards none of their servers may be left."""
    users: list[User] = []

    def make(data_dir: Path = tmp_path / "data", **options: object) -> User:
        users.append(User(data_dir, **options))  # type: ignore[arg-type]
        return users[-1]

    yield make
    pids = [user.store.pid for user in users]
    for user in users:
        await user.stop()
    assert [pid for pid in pids if pid is not None and alive(pid)] == []


@pytest.fixture
async def make_other(tmp_path: Path) -> AsyncIterator[MakeOther]:
    others: list[OtherUser] = []

    def make(data_dir: Path = tmp_path / "data", fsync: Fsync = "always") -> OtherUser:
        others.append(OtherUser(data_dir, fsync))
        return others[-1]

    yield make
    for other in others:
        await other.kill()
        if other.server_pid and alive(other.server_pid):
            os.kill(other.server_pid, signal.SIGKILL)
            await until_dead(other.server_pid)


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
async def test_the_server_gets_a_session_and_one_lock_but_no_variables(
    make_user: MakeUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUEY_API_KEY", "secret")
    user = make_user()
    await user.start()

    process = Path("/proc", str(user.pid))
    links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
    assert [link for link in links if link.endswith(".lock")] == [str(tmp_path / "data" / "server.lock")]
    assert b"secret" not in (process / "environ").read_bytes()
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


async def test_two_users_share_one_server_until_the_last_leaves(make_user: MakeUser, make_other: MakeOther) -> None:
    user, other = make_user(), make_other()
    await other.start()
    await user.start()
    assert user.pid == other.server_pid
    assert user.events.names == ["store_joined"]

    await user.command("SET", "key", "value")
    await other.leave()
    assert "store_stopped" not in other.events.names
    assert await user.command("GET", "key") == "value"

    pid = user.pid
    await user.stop()
    assert not alive(pid)


async def test_the_first_user_may_leave_first(make_user: MakeUser, make_other: MakeOther) -> None:
    user, other = make_user(), make_other()
    await user.start()
    await other.start()
    await user.stop()
    assert "store_stopped" not in user.events.names
    assert await command(other.url, "PING") is True

    await other.leave()
    assert "store_stopped" in other.events.names
    assert not alive(other.server_pid)


async def test_users_that_start_at_once_start_one_server(make_user: MakeUser) -> None:
    users = [make_user() for _ in range(5)]
    await asyncio.gather(*(user.start() for user in users))

    assert len({user.pid for user in users}) == 1
    assert sorted(name for user in users for name in user.events.names) == ["store_joined"] * 4 + ["store_started"]

    pid = users[0].pid
    await asyncio.gather(*(user.stop() for user in users))
    assert [name for user in users for name in user.events.names].count("store_stopped") == 1
    assert not alive(pid)


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


async def test_one_of_two_users_restarts_a_killed_server(make_user: MakeUser, make_other: MakeOther) -> None:
    user, other = make_user(), make_other()
    await user.start()
    await other.start()
    user.kill_server()

    await user.events.next("store_lost")
    mine = await user.events.next("store_started", "store_joined")
    await other.events.next("store_lost")
    theirs = await other.events.next("store_started", "store_joined")
    assert mine["pid"] == theirs["pid"] == user.pid
    assert (user.events.names + other.events.names).count("store_started") == 2


async def test_a_killed_user_leaves_the_server_to_the_next(make_user: MakeUser, make_other: MakeOther) -> None:
    other = make_other()
    await other.start()
    await command(other.url, "SET", "key", "value")
    await other.kill()
    assert alive(other.server_pid)

    user = make_user()
    await user.start()
    assert user.pid == other.server_pid
    assert await user.command("GET", "key") == "value"
    await user.stop()
    assert not alive(other.server_pid)


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


async def test_a_server_whose_socket_was_deleted_gets_no_rival(
    make_user: MakeUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "ANSWER_PATIENCE", 0.3)
    user, late = make_user(), make_user()
    await user.start()
    (tmp_path / "data" / "valkey.sock").rename(tmp_path / "data" / "away")

    with pytest.raises(StartupError, match=r"has not answered for 0 s.*server\.lock"):
        await late.start()
    (tmp_path / "data" / "away").rename(tmp_path / "data" / "valkey.sock")
    assert await user.command("PING") is True


async def test_a_long_path_is_no_obstacle(make_user: MakeUser, make_other: MakeOther, tmp_path: Path) -> None:
    deep = tmp_path / ("ä %23#?" * 8) / ("long" * 20)
    user, other = make_user(deep), make_other(deep)
    await user.start()
    await other.start()
    assert other.server_pid == user.pid
    assert len(os.fsencode(user.store.url)) <= 110
    assert await user.command("SET", "key", "value")
    assert await command(other.url, "GET", "key") == "value"

    link = Path(str(user.store._socket)).parent
    assert link.is_symlink()
    await user.stop()
    assert not link.parent.exists()


@pytest.mark.parametrize(("first", "second", "kept"), [("no", "everysec", "everysec"), ("always", "no", "always")])
async def test_the_safer_fsync_wins(make_user: MakeUser, first: Fsync, second: Fsync, kept: Fsync) -> None:
    one, two = make_user(fsync=first), make_user(fsync=second)
    await one.start()
    await two.start()
    assert await two.config("appendfsync") == kept
    assert two.events.names == (["store_fsync_raised", "store_joined"] if first != kept else ["store_joined"])


async def test_a_user_with_a_weaker_fsync_restarts_with_the_safer(make_user: MakeUser) -> None:
    weak, safe = make_user(fsync="no"), make_user(fsync="always")
    await safe.store.start()  # not supervised: the weak one must restart it
    await weak.start()
    weak.kill_server()
    await weak.events.next("store_started")

    assert await weak.config("appendfsync") == "always"
    assert "store_fsync_raised" not in weak.events.names  # it was never weaker, not for a moment


async def test_a_policy_goes_with_its_users(make_user: MakeUser) -> None:
    for fsync in ("always", "no"):
        user = make_user(fsync=fsync)
        await user.start()
        assert await user.config("appendfsync") == fsync
        await user.stop()


SLOW_LOADING = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")


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
    one, two = make_user(extra_args=SLOW_LOADING), make_user()
    first = asyncio.create_task(one.start())
    await until_loading(one.store.url)
    await two.start()
    assert await two.command("DBSIZE") == 1000
    await first
    assert one.pid == two.pid


async def test_loading_has_a_limit(make_user: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(make_user())
    monkeypatch.setattr(embedded, "LOADING_PATIENCE", 0.2)
    user = make_user(extra_args=SLOW_LOADING)
    with pytest.raises(StartupError, match="still loading"):
        await user.start()
    assert user.events.names == ["store_stopped"]


async def test_a_server_that_hangs_is_waited_for_and_left_alone(
    make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, late = make_user(), make_user()
    await user.start()
    for name in ("ANSWER_PATIENCE", "SHUTDOWN_PATIENCE", "COMMAND_TIMEOUT"):
        monkeypatch.setattr(embedded, name, 0.1)
    pid = user.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(StartupError, match="has not answered"):
            await late.start()
        await user.stop()
        assert user.events.names[-1] == "store_left_running"
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    await late.start()
    assert await late.command("PING") is True


async def test_a_held_start_lock_is_reported_with_its_holder(
    make_user: MakeUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LOCK_PATIENCE", 0.1)
    data_dir.prepare(tmp_path / "data")
    user = make_user()
    async with data_dir.exclusively(tmp_path / "data" / "start.lock", 1):
        with pytest.raises(StartupError, match=rf"Process {os.getpid()} has held .*start\.lock"):
            await user.start()
    await user.start()


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


async def test_an_unusable_directory_is_refused(make_user: MakeUser, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="not a directory"):
        await make_user(tmp_path / "file").start()


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

"""The embedded store: shared by several users, in one process and in two."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from queuey.errors import StartupError
from queuey.store.embedded import store as embedded
from queuey.store.embedded.data_dir import exclusively, prepare
from queuey.store.embedded.process import Fsync
from tests.integration.store.conftest import MakeUser
from tests.support.store_users import OtherUser, alive, command, other_users

MakeOther = Callable[..., OtherUser]


@pytest.fixture
async def make_other(tmp_path: Path) -> AsyncIterator[MakeOther]:
    async with other_users(tmp_path / "data") as make:
        yield make


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


async def test_a_server_whose_socket_was_removed_gets_no_rival(make_user: MakeUser) -> None:
    """The next user ends it, and starts one in its place."""
    user, late = make_user(), make_user()
    await user.store.start()
    first = user.pid
    await user.command("SET", "k", "v")
    Path(user.store.url.removeprefix("unix://")).unlink()
    await late.start()
    assert late.pid != first
    assert not alive(first)
    assert await user.command("GET", "k") == "v"


async def test_a_server_without_a_socket_and_without_a_known_process_is_reported(
    make_user: MakeUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, late = make_user(), make_user()
    await user.store.start()
    monkeypatch.setattr(embedded, "ANSWER_SECONDS", 0.3)
    (tmp_path / "data" / "server.lock").write_text("")  # an earlier version has started it
    (tmp_path / "data" / "valkey.sock").rename(tmp_path / "data" / "away")

    with pytest.raises(StartupError, match=r"has not answered for 0 s.*was removed.*server\.lock"):
        await late.start()
    (tmp_path / "data" / "away").rename(tmp_path / "data" / "valkey.sock")
    assert await user.command("PING") is True


async def test_the_next_user_starts_a_server_again_whose_socket_was_removed(
    make_user: MakeUser, make_other: MakeOther
) -> None:
    other = make_other()
    await other.start()
    await command(other.url, "SET", "k", "v")
    await other.kill()
    Path(other.url.removeprefix("unix://")).unlink()
    user = make_user()
    await user.start()
    assert user.pid != other.server_pid
    assert not alive(other.server_pid)
    assert await user.command("GET", "k") == "v"


async def test_a_long_path_is_no_obstacle(make_user: MakeUser, make_other: MakeOther, tmp_path: Path) -> None:
    deep = tmp_path / ("ä %23#?" * 8) / ("long" * 20)
    user, other = make_user(deep), make_other(deep)
    await user.start()
    await other.start()
    assert other.server_pid == user.pid
    assert len(os.fsencode(user.store.url)) <= 110
    assert await user.command("SET", "key", "value")
    assert await command(other.url, "GET", "key") == "value"

    await other.leave()  # a killed one would leave its link behind
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


async def test_a_server_that_hangs_is_waited_for_and_left_alone(
    make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, late = make_user(), make_user()
    await user.start()
    for name in ("ANSWER_SECONDS", "SHUTDOWN_SECONDS", "COMMAND_TIMEOUT"):
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
    monkeypatch.setattr(embedded, "LOCK_SECONDS", 0.1)
    prepare(tmp_path / "data")
    user = make_user()
    async with exclusively(tmp_path / "data" / "start.lock", 1):
        with pytest.raises(StartupError, match=rf"Process {os.getpid()} has held .*start\.lock"):
            await user.start()
    await user.start()


async def test_a_restart_waits_for_the_start_lock(
    make_user: MakeUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_user()
    await user.start()
    async with exclusively(tmp_path / "data" / "start.lock", 1):
        monkeypatch.setattr(embedded, "LOCK_SECONDS", 0.1)
        user.kill_server()
        await user.events.next("store_lost")
        failed = await user.events.next("store_restart_failed", "store_started")
        assert "start.lock" in failed["error"]
    await user.events.next("store_started")


async def test_a_restart_that_was_missed_is_noticed(make_user: MakeUser) -> None:
    late, user = make_user(), make_user()
    await late.store.start()
    await user.start()
    old = user.pid
    user.kill_server()
    await user.events.next("store_lost")
    started = await user.events.next("store_started")

    assert late.pid == old
    running = asyncio.create_task(late.store.run())
    assert await late.events.next("store_lost") == {"pid": old}
    assert (await late.events.next("store_joined"))["pid"] == started["pid"] == late.pid
    running.cancel()
    await asyncio.wait([running])


async def test_a_start_that_is_cancelled_at_any_step_holds_nothing(make_user: MakeUser, tmp_path: Path) -> None:
    user = make_user()
    await user.start()
    steps = 0
    while True:
        late = make_user()
        starting = asyncio.create_task(late.store.start())
        for _ in range(steps):
            await asyncio.sleep(0)
        if starting.done():
            break
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        async with exclusively(tmp_path / "data" / "start.lock", 0):
            assert not late.store._users_lock.held
        steps += 1
    assert steps > 5
    assert await user.command("PING") is True

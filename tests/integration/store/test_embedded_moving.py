"""Moving a data directory: only while nobody uses it, with all that is in it, and whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from queuey.errors import StartupError
from queuey.store.embedded import moving
from queuey.store.embedded.data_dir import FileLock, exclusively
from queuey.store.embedded.moving import holds_store, move_store
from tests.integration.store.conftest import MakeUser
from tests.support.store_users import OtherUser, alive, other_users

MakeOther = Callable[..., OtherUser]


@pytest.fixture
async def make_other(tmp_path: Path) -> AsyncIterator[MakeOther]:
    async with other_users(tmp_path / "data") as make:
        yield make


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The data directory of the users that the fixtures make."""
    return tmp_path / "data"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "project" / ".queuey"


@pytest.fixture(autouse=True)
def project(new: Path) -> None:
    new.parent.mkdir()


async def filled(user: object) -> None:
    """Start the user's store, keep a value in it, and leave."""
    await user.start()  # type: ignore[attr-defined]
    await user.command("SET", "key", "value")  # type: ignore[attr-defined]
    await user.stop()  # type: ignore[attr-defined]


async def kept_in(make_user: MakeUser, place: Path) -> object:
    user = make_user(place)
    await user.start()
    kept = await user.command("GET", "key")
    await user.stop()
    return kept


def other_file_system(monkeypatch: pytest.MonkeyPatch, old: Path) -> None:
    """Let a rename out of the folder of `old` fail, as between two file systems."""
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if Path(source).parent == old.parent and Path(target).parent != old.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("made", [False, True])
async def test_it_has_all_that_it_had(
    make_user: MakeUser, old: Path, new: Path, monkeypatch: pytest.MonkeyPatch, across: bool, made: bool
) -> None:
    await filled(make_user())
    (old / "damaged").mkdir()
    (old / "damaged" / "copy").write_text("of a file")
    if made:
        new.mkdir()
    if across:
        other_file_system(monkeypatch, old)
    await move_store(old, new)
    assert not old.exists()
    assert os.listdir(new.parent) == [".queuey"]
    assert (new / "damaged" / "copy").read_text() == "of a file"
    assert new.stat().st_mode & 0o777 == 0o700
    assert await kept_in(make_user, new) == "value"
    assert (new / ".gitignore").read_text() == "*\n"


async def test_a_link_is_followed(make_user: MakeUser, old: Path, new: Path) -> None:
    await filled(make_user())
    link = new.parent / "link"
    link.symlink_to(old)
    await move_store(link, new)
    assert not old.exists()
    assert not new.is_symlink()
    assert await kept_in(make_user, new) == "value"


async def test_nothing_moves_while_a_server_uses_it(
    make_user: MakeUser, make_other: MakeOther, old: Path, new: Path
) -> None:
    other = make_other()
    await other.start()
    with pytest.raises(StartupError, match=f"The store in {old} is in use. Stop every"):
        await move_store(old, new)
    assert not new.exists()
    assert alive(other.server_pid)
    await other.leave()
    await move_store(old, new)
    assert holds_store(new)


async def test_nothing_moves_while_a_server_restarts_its_store(make_user: MakeUser, old: Path, new: Path) -> None:
    await filled(make_user())
    server = FileLock(old / "users.lock")
    assert server.try_acquire(shared=True)
    try:
        with pytest.raises(StartupError, match="is in use"):
            await move_store(old, new)
    finally:
        server.release()
    assert holds_store(old)


async def test_a_store_whose_servers_were_killed_is_stopped_first(
    make_user: MakeUser, make_other: MakeOther, old: Path, new: Path
) -> None:
    other, user = make_other(), make_user()
    await other.start()
    await user.start()
    await user.command("SET", "key", "value")
    await user.stop()
    await other.kill()
    assert alive(other.server_pid)
    await move_store(old, new)
    assert not alive(other.server_pid)
    assert await kept_in(make_user, new) == "value"


async def test_a_server_that_starts_meanwhile_waits(
    make_user: MakeUser, old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have to hold start.lock, which the move holds to its end."""
    await filled(make_user())
    seen: list[str] = []
    rename = os.rename

    async def probe() -> None:
        with pytest.raises(StartupError, match=f"Process {os.getpid()} has held"):
            async with exclusively(old / "start.lock", timeout=0):
                pass
        seen.append("locked")

    def watched(source: Path, target: Path) -> None:
        with pytest.raises(StopIteration):
            probe().send(None)
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    await move_store(old, new)
    assert seen == ["locked"]


async def test_what_is_no_store_is_not_moved(tmp_path: Path, new: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(StartupError, match=f"{place} holds no store. Check the path."):
            await move_store(place, new)


@pytest.mark.parametrize("kind", ["file", "full", "link"])
async def test_what_is_there_is_never_replaced(make_user: MakeUser, old: Path, new: Path, kind: str) -> None:
    await filled(make_user())
    if kind == "file":
        new.write_text("of the user")
    elif kind == "full":
        new.mkdir()
        (new / "file").touch()
    else:
        new.symlink_to(new.parent / "nowhere")
    with pytest.raises(StartupError, match=f"{new} exists, and is not an empty directory."):
        await move_store(old, new)
    assert holds_store(old)


async def test_a_place_that_cannot_be_made(make_user: MakeUser, old: Path, new: Path) -> None:
    await filled(make_user())
    with pytest.raises(StartupError, match=f"The store in {old} cannot be moved to {new}/a/b: No such file"):
        await move_store(old, new / "a" / "b")
    assert holds_store(old)


async def test_a_copy_that_fails_leaves_nothing(
    make_user: MakeUser, old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(make_user())
    other_file_system(monkeypatch, old)

    def full(path: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(moving, "_sync", full)
    with pytest.raises(StartupError, match="No space left on device"):
        await move_store(old, new)
    assert os.listdir(new.parent) == []
    assert sorted(os.listdir(old.parent)) == ["data", "project"]
    assert await kept_in(make_user, old) == "value"

"""Who may use a data directory, its locks, and the path to its socket."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from queuey.errors import StartupError
from queuey.store.embedded.data_dir import FileLock, exclusively, prepare, sync_names
from queuey.store.embedded.unix_socket import SOCKET_PATH_LIMIT, SocketPath


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_new_directory_is_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        prepare(tmp_path / "a" / "data")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "data") == 0o700


def test_a_directory_that_others_can_read_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    prepare(tmp_path)
    assert mode(tmp_path) == 0o700


@pytest.mark.parametrize("bits", [0o770, 0o702, 0o1777])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "data"
    path.mkdir()
    path.chmod(bits)
    with pytest.raises(StartupError, match=f"Other users can write .*mode {bits:04o}.*chmod 700 {path}"):
        prepare(path)
    assert mode(path) == bits


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(
        StartupError, match=rf"belongs to another user \(uid {os.getuid()}; this is {os.getuid() + 1}\)"
    ):
        prepare(tmp_path)


def test_a_directory_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere, so ask for it
    with pytest.raises(StartupError, match="cannot be written to"):
        prepare(tmp_path)


def test_a_parent_that_may_not_be_read_is_left_out_of_the_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    real = os.open

    def open_all_but_the_root(path: Path, flags: int) -> int:
        if path == Path("/"):
            raise PermissionError(path)
        opened.append(path)
        return real(path, flags)

    monkeypatch.setattr(os, "open", open_all_but_the_root)
    sync_names(tmp_path)
    assert opened == [tmp_path, *tmp_path.parents][:-1]


@pytest.mark.parametrize("name", ["file", "dangling"])
def test_what_is_no_directory_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StartupError, match="is not a directory"):
        prepare(tmp_path / name)


def test_a_directory_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot be used: Not a directory"):
        prepare(tmp_path / "file" / "data")


def test_a_short_path_needs_no_link() -> None:
    path = SocketPath(Path("/srv/queuey"))
    path.open()
    assert str(path) == "/srv/queuey/valkey.sock"
    path.close()


def test_a_long_path_is_reached_through_a_link(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    path = SocketPath(deep)
    path.open()
    link = Path(str(path)).parent
    assert len(str(path)) <= SOCKET_PATH_LIMIT
    assert link.resolve() == deep
    assert mode(link.parent) == 0o700
    path.close()
    assert not link.parent.exists()
    assert deep.exists()


def test_a_temporary_directory_that_is_too_deep_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(StartupError, match="Set TMPDIR to a shorter one"):
        SocketPath(deep).open()
    assert list(deep.iterdir()) == []


def test_locks_share_and_exclude(tmp_path: Path) -> None:
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.try_acquire(shared=True)
    assert two.try_acquire(shared=True)
    assert not two.try_acquire()
    assert not two.held
    assert one.try_acquire()
    assert not two.try_acquire(shared=True)
    one.release()
    assert two.try_acquire()
    two.release()


async def test_waiting_for_a_lock_ends_with_the_holders_name(tmp_path: Path) -> None:
    async with exclusively(tmp_path / "lock", 1):
        with pytest.raises(StartupError, match=rf"Process {os.getpid()} has held {tmp_path}/lock"):
            async with exclusively(tmp_path / "lock", 0.05):
                pass
    async with exclusively(tmp_path / "lock", 0):
        pass


async def test_a_lock_is_had_once_it_is_given_back(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert lock.try_acquire()
    lock.note = "1"

    async def wait() -> bool:
        async with exclusively(tmp_path / "lock", 10):
            return True

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    lock.release()
    assert await waiting


FORK = """
import os, sys
from pathlib import Path
from queuey.store.embedded.data_dir import FileLock

path = Path(sys.argv[1])
lock = FileLock(path)
assert lock.try_acquire()
(dropped, tell), (wait, end) = os.pipe(), os.pipe()
if os.fork() == 0:
    os.write(tell, b"x")
    os.read(wait, 1)
    os._exit(0)
os.read(dropped, 1)
assert not FileLock(path).try_acquire(), "the child gave the parent's lock away"
lock.release()
assert FileLock(path).try_acquire(), "the child holds the lock"
os.write(end, b"x")
os.wait()
"""


def test_a_forked_child_holds_no_lock(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORK, str(tmp_path / "lock")], check=True, timeout=30)


def test_the_directory_of_a_project_is_kept_out_of_git(tmp_path: Path) -> None:
    place = tmp_path / ".queuey"
    prepare(place)
    assert ((place / ".gitignore").read_text(), mode(place)) == ("*\n", 0o700)
    (place / ".gitignore").write_text("")  # the disk was full
    prepare(place)
    assert (place / ".gitignore").read_text() == "*\n"
    (place / ".gitignore").write_text("of the user\n")
    prepare(place)
    assert (place / ".gitignore").read_text() == "of the user\n"


def test_another_directory_gets_no_such_file(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_gitignore_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    place = tmp_path / ".queuey"
    place.mkdir(mode=0o700)
    (place / ".gitignore").symlink_to(tmp_path / "none" / "file")
    prepare(place)
    assert not (place / ".gitignore").exists()

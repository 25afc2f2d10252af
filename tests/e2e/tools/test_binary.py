"""The launcher of the binary: where it unpacks, what it refuses, and what it removes. The folder inside is a small one.

`make binary-test` tries the real one, in a root file system without Python.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.binary.__main__ import with_launcher
from scripts.binary.payload import BLOCK, FRAME, Payload
from scripts.binary.tree import INSIDE
from tests.support.serving import PATIENCE

ELSEWHERE = "/dev/null/none"
BIG = bytes(FRAME + 1)
"""Fills a frame."""
UNPACKING = f'shift 4 && exec {shlex.quote(sys.executable)} -I "$@"'
"""What the Python inside does with unpack.py."""


def build(folder: Path, mark: str = "", unpacking: str = UNPACKING, glibc: str = "") -> Path:
    """Return a file whose Python prints its arguments. `mark` makes it another version."""
    tree = folder / f"tree{mark}"
    (tree / "bin").mkdir(parents=True)
    python = tree / "bin" / "python3"
    python.write_text(f'#!/bin/sh\n# {mark}\ncase $5 in */unpack.py) {unpacking} ;; esac\necho "$@"\n')
    python.chmod(0o755)
    shutil.copy2(INSIDE / "unpack.py", tree)
    (tree / "big").write_bytes(BIG)
    (tree / "small").mkdir()
    (tree / "small" / "a file").write_text(f"small{mark}")
    file = folder / f"queuey{mark}"
    file.write_bytes(with_launcher(Payload(tree), glibc))
    file.chmod(0o755)
    return file


def started(file: Path, variables: Mapping[str, str]) -> subprocess.Popen[str]:
    env = {"PATH": os.environ["PATH"], "TMPDIR": ELSEWHERE, **variables}
    return subprocess.Popen(
        [file, "job", "a b"], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=file.parent
    )


def run(file: Path, **variables: str) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr."""
    process = started(file, variables)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def unpacked(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_it_unpacks_once_and_passes_its_arguments_on(tmp_path: Path) -> None:
    file, place = build(tmp_path), tmp_path / "place"
    assert run(file, QUEUEY_UNPACK_DIR="place") == (0, "-P -m queuey job a b\n", "")
    (folder,) = unpacked(place)
    assert (place / folder / "big").read_bytes() == BIG
    assert (place / folder / "small" / "a file").read_text() == "small"
    (place / folder / "kept").touch()
    assert run(file, QUEUEY_UNPACK_DIR=str(place))[0] == 0
    assert (place / folder / "kept").exists()


def test_two_first_starts_at_once_leave_one_folder(tmp_path: Path) -> None:
    file, place = build(tmp_path), tmp_path / "place"
    both = [started(file, {"QUEUEY_UNPACK_DIR": str(place)}) for _ in range(2)]
    assert [process.communicate(timeout=PATIENCE)[0] for process in both] == ["-P -m queuey job a b\n"] * 2
    assert len(unpacked(place)) == 1


@pytest.mark.parametrize("cut", [1, 2500])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, cut: int) -> None:
    file = build(tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[:-cut] if cut == 1 else data[:cut])
    code, out, err = run(file, QUEUEY_UNPACK_DIR=str(tmp_path / "place"))
    assert code != 0
    assert not out
    assert err
    assert not unpacked(tmp_path / "place")


@pytest.mark.parametrize("content", [b"Unpacks what", None], ids=["in the tar", "in a frame"])
def test_a_damaged_payload_is_refused_and_leaves_nothing(tmp_path: Path, content: bytes | None) -> None:
    file, place = build(tmp_path), tmp_path / "place"
    data = bytearray(file.read_bytes())
    data[data.index(content) if content else -10] ^= 1
    file.write_bytes(data)
    code, out, err = run(file, QUEUEY_UNPACK_DIR=str(place))
    assert (code, out) == (3, "")
    assert err
    assert not unpacked(place)


def test_a_file_that_is_replaced_while_it_unpacks_is_refused(tmp_path: Path) -> None:
    file, new = build(tmp_path), tmp_path / "new.1"
    new.mkdir()
    found = re.search(rb" first=(\d+) crc=(\d+) ", file.read_bytes())
    assert found
    tar = (str(BLOCK), str(int(found[1]) * BLOCK), found[2].decode())
    command = [sys.executable, INSIDE / "unpack.py", file, new, tmp_path / "id-of-the-file-before", *tar]
    assert subprocess.run(command, check=False).returncode == 2
    assert not unpacked(new)


def test_what_a_power_cut_or_a_cleaner_left_is_unpacked_again(tmp_path: Path) -> None:
    file, place = build(tmp_path), tmp_path / "place"
    assert run(file, QUEUEY_UNPACK_DIR=str(place))[0] == 0
    (folder,) = unpacked(place)
    (place / folder / "whole").write_text("")
    (place / folder / "big").unlink()
    assert run(file, QUEUEY_UNPACK_DIR=str(place)) == (0, "-P -m queuey job a b\n", "")
    assert (place / folder / "big").read_bytes() == BIG
    assert unpacked(place)[0] == folder


def test_an_unpacking_that_was_killed_is_removed_later(tmp_path: Path) -> None:
    file, place = build(tmp_path), tmp_path / "place"
    killed, running, young = (place / f"queuey-new.{name}" for name in ("killed", "running", "young"))
    for folder in (killed, running, young):
        folder.mkdir(parents=True)
    for folder in (killed, running):
        os.utime(folder, (0, 0))
    descriptor = os.open(running, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        assert run(file, QUEUEY_UNPACK_DIR=str(place))[0] == 0
    finally:
        os.close(descriptor)
    assert unpacked(place)[1:] == ["queuey-new.running", "queuey-new.young"]


def test_folders_of_others_stay(tmp_path: Path) -> None:
    file, place = build(tmp_path), tmp_path / "place"
    for name in ("new.site", "new", "other"):
        (place / name).mkdir(parents=True)
        (place / name / "mine").touch()
        os.utime(place / name, (0, 0))
    assert run(file, QUEUEY_UNPACK_DIR=str(place))[0] == 0
    assert {path.parent.name for path in place.glob("*/mine")} == {"new.site", "new", "other"}


def test_a_folder_that_another_first_start_moves_meanwhile_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("queuey-new.other", "queuey-new.killed"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    scan, entries = os.scandir, list(os.scandir(tmp_path))
    (tmp_path / "queuey-new.other").rename(tmp_path / "1.2.3")
    clean = runpy.run_path(str(INSIDE / "unpack.py"))["clean"]
    monkeypatch.setattr(os, "scandir", lambda folder: entries if folder == str(tmp_path) else scan(folder))
    clean(str(tmp_path), str(tmp_path / "1.2.3"))
    monkeypatch.undo()
    assert unpacked(tmp_path) == ["1.2.3"]


def test_other_users_may_read_a_folder_that_a_strict_umask_made(tmp_path: Path) -> None:
    file, place = build(tmp_path), tmp_path / "for" / "all"
    env = {"PATH": os.environ["PATH"], "QUEUEY_UNPACK_DIR": str(place)}
    subprocess.run([file], env=env, umask=0o077, stdout=subprocess.DEVNULL, timeout=PATIENCE, check=True)
    (folder,) = place.iterdir()
    inside = [path for path in folder.rglob("*") if path.is_dir() or path.name == "python3"]
    assert {path.stat().st_mode & 0o777 for path in (place.parent, place, folder, *inside)} == {0o755}
    assert (folder / "big").stat().st_mode & 0o777 == 0o644


def test_a_place_where_programs_may_not_run_any_more_is_passed_over(tmp_path: Path) -> None:
    file, place, other = build(tmp_path), tmp_path / ".cache" / "queuey", tmp_path / "tmp"
    assert run(file, HOME=str(tmp_path))[0] == 0
    (folder,) = unpacked(place)
    (place / folder / "bin" / "python3").chmod(0o644)  # as if it were mounted with noexec
    assert run(file, HOME=str(tmp_path), TMPDIR=str(other)) == (0, "-P -m queuey job a b\n", "")
    code, out, err = run(file, QUEUEY_UNPACK_DIR=str(place))
    assert (code, out) == (3, "")
    assert f"- {place}: Programs may not run there." in err


def test_a_place_that_fails_is_passed_over(tmp_path: Path) -> None:
    file, other = build(tmp_path), tmp_path / "tmp"
    other.mkdir()
    assert run(file, HOME=ELSEWHERE, TMPDIR=str(other))[0] == 0
    (base,) = other.iterdir()
    assert base.name == f"queuey-{os.getuid()}"
    assert base.stat().st_mode & 0o777 == 0o700


def test_without_a_place_the_error_says_what_to_do(tmp_path: Path) -> None:
    code, out, err = run(build(tmp_path), QUEUEY_UNPACK_DIR=ELSEWHERE)
    assert (code, out) == (3, "")
    assert f"- {ELSEWHERE}: It cannot be written to." in err
    assert "Set QUEUEY_UNPACK_DIR" in err


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_to_which_others_may_write_is_not_used(tmp_path: Path, mode: int) -> None:
    file, place, other = build(tmp_path), tmp_path / ".cache" / "queuey", tmp_path / "tmp"
    place.mkdir(parents=True)
    place.chmod(mode)
    assert run(file, HOME=str(tmp_path), TMPDIR=str(other)) == (0, "-P -m queuey job a b\n", "")
    assert not unpacked(place)
    assert unpacked(other / f"queuey-{os.getuid()}")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make another user's folder")
def test_a_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    file, other = build(tmp_path), tmp_path / "tmp"
    base = tmp_path / ".cache" / "queuey"
    base.mkdir(parents=True)
    os.chown(base, 12345, 12345)
    other.mkdir()
    assert run(file, HOME=str(tmp_path), TMPDIR=str(other))[0] == 0
    assert not unpacked(base)
    assert unpacked(other)


def test_old_versions_are_removed_unless_they_are_used(tmp_path: Path) -> None:
    place, locks = tmp_path / "place", contextlib.ExitStack()
    folders: list[str] = []
    for number in range(5):
        file = build(tmp_path, str(number))
        before = set(unpacked(place))
        assert run(file, QUEUEY_UNPACK_DIR=str(place))[0] == 0
        (new,) = set(unpacked(place)) - before
        os.utime(place / new, (number, number))
        folders.append(new)
        if number == 0:
            descriptor = os.open(place / new, os.O_RDONLY)
            locks.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
    locks.close()
    assert unpacked(place) == sorted([folders[0], *folders[2:]])


def test_a_glibc_that_is_too_old_is_named(tmp_path: Path) -> None:
    loader = "/lib/libc.so.6: version `GLIBC_2.99' not found (required by python3)"
    failing = f"echo {shlex.quote(loader)} >&2; exit 1"
    file, place = build(tmp_path, unpacking=failing, glibc="2.99"), tmp_path / "place"
    code, out, err = run(file, QUEUEY_UNPACK_DIR=str(place))
    assert (code, out) == (3, "")
    assert "glibc 2.99 or newer is needed" in err
    assert not unpacked(place)

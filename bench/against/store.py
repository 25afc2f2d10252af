"""Starts a store of its own for a replay, and talks to it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import hiredis

from bench.against.recording import Command
from bench.servers import ended, wait_for

OPTIONS: Final = (
    *("--port", "0", "--unixsocket", "store.sock", "--save", "", "--databases", "1"),
    *("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"),
    # Compressed or not, a value differs in length with the time in it.
    *("--rdbcompression", "no"),
    # The seed decides which keys meet in a bucket, and so how much work it is to find one.
    *("--hash-seed", "bench-against"),
    # What the store does by the clock comes between two calls at other places each time.
    *("--activerehashing", "no", "--hz", "1", "--dynamic-hz", "no"),
)
READY: Final = "Ready to accept connections"
REPLY_SECONDS: Final = 120
RECEIVE_BYTES: Final = 65_536

_pack: Final[Callable[[Command], bytes]] = hiredis.pack_command  # type: ignore[assignment]
"""Its annotation asks for a tuple of one."""


@contextmanager
def store(binary: Path, folder: Path, under: Sequence[str] = (), options: Sequence[str] = ()) -> Iterator[Path]:
    """A store in a new folder, with an append-only file. Gives its socket.

    `under`: a program that runs it. `options`: more of them, which win over ours."""
    folder.mkdir()
    log = folder / "store.log"
    path = folder / "store.sock"
    with ended([*under, str(binary), *OPTIONS, *options], log, cwd=folder) as process:
        wait_for(process, log, lambda: READY in log.read_text())  # the socket is there before it listens
        yield path


class Client:
    """One connection that sends a command and waits for its reply."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(REPLY_SECONDS)
        self._socket.connect(str(path))
        self._reader = hiredis.Reader()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, command: Command) -> Any:
        """The reply. Raises RuntimeError when it is an error."""
        self._socket.sendall(_pack(command))
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(RECEIVE_BYTES)
            if not data:
                raise RuntimeError("The store hung up.")
            self._reader.feed(data)
        if isinstance(reply, Exception):
            raise RuntimeError(f"The store refused {command[0].decode()}: {reply}")
        return reply

    def info(self, section: str) -> dict[str, str]:
        """The fields of a section of INFO."""
        text: bytes = self.ask((b"INFO", section.encode()))
        return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)

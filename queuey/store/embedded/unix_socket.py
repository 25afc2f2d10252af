"""The socket of the embedded store: a path to it that is short enough, and one command through it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import hiredis

from queuey.errors import StartupError
from queuey.lifecycle import TimeLimit

SOCKET_NAME: Final = "valkey.sock"
SOCKET_PATH_LIMIT: Final = 100
"""Bytes. The kernel's limit is 107 on Linux and 103 on macOS."""

_READ_SIZE: Final = 65_536


class SocketPath:
    """A path to the store's socket that a client can connect to, however long the path of the data directory is.

    The socket itself is always in the data directory, so that every process finds the same one, whatever its
    environment. Where that path is too long for a socket's address, each process reaches it through a link in
    a private temporary directory of its own."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._link: Path | None = None

    def open(self) -> None:
        """Make the link, if one is needed."""
        if self._link is None and not _fits(self._data_dir / SOCKET_NAME):
            self._link = Path(tempfile.mkdtemp(prefix="queuey-"), "d")
            self._link.symlink_to(self._data_dir)
            if not _fits(self._link / SOCKET_NAME):
                link = self._link
                self.close()
                raise StartupError(f"The path {link} is too long for a socket. Set TMPDIR to a shorter one.")

    def close(self) -> None:
        if self._link is not None:
            self._link.unlink(missing_ok=True)
            self._link.parent.rmdir()
            self._link = None

    def __str__(self) -> str:
        return str((self._link or self._data_dir) / SOCKET_NAME)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_LIMIT


async def ask(path: str, *words: str, timeout: float) -> Any:
    """Send one command on a connection of its own, and return the reply as text, or a list of texts.

    Raises OSError when no reply comes (TimeoutError after `timeout` seconds), ReplyError when it is an error.
    A pooled client would not do: its idle connection may not know yet that the server has ended."""
    async with TimeLimit(asyncio.get_running_loop().time() + timeout):
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(hiredis.pack_command(words))  # type: ignore[arg-type]
            replies = hiredis.Reader(encoding="utf-8", errors="replace")
            while (reply := replies.gets()) is False:
                data = await reader.read(_READ_SIZE)
                if not data:
                    raise ConnectionResetError(f"{path} was closed before it replied")
                replies.feed(data)
        finally:
            writer.close()
    if isinstance(reply, hiredis.ReplyError):
        raise reply
    return reply


async def server_info(path: str, timeout: float) -> dict[str, str]:
    """Return what the server reports of its process and its data, even while it loads them. Raises like `ask`."""
    text: str = await ask(path, "INFO", "server", "persistence", timeout=timeout)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

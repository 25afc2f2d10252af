"""Where handlers in other processes report, and wait until the test lets them go on."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final

from queuey.lifecycle import end_tasks

ACCEPT_PASSES: Final = 3
"""Passes of the event loop in which asyncio hands over a connection that it has accepted."""


class Visitor:
    """A process that waits at the gate."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self._reader = reader
        self._writer = writer

    def let_go(self, answer: str) -> None:
        self._writer.write(f"{answer}\n".encode())

    async def gone(self) -> None:
        """Wait until the process has ended."""
        assert await self._reader.read() == b""


class Gate:
    """A unix socket: `async with Gate() as gate`, give `gate.path` to a handler, `await gate.visitor()`."""

    async def __aenter__(self) -> Gate:
        self._directory = tempfile.TemporaryDirectory(prefix="gate")
        self.path = str(Path(self._directory.name, "s"))
        self._visitors: asyncio.Queue[Visitor] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []
        self._admissions: list[asyncio.Task[None]] = []
        self._server = await asyncio.start_unix_server(self._connected, self.path)
        return self

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._admissions.append(asyncio.create_task(self._admit(reader, writer)))

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if pid := await reader.readline():
            self._visitors.put_nowait(Visitor(int(pid), reader, writer))

    async def visitor(self) -> Visitor:
        return await self._visitors.get()

    async def __aexit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        """End each connection before the loop may end: one left behind would be blamed on a later test."""
        self._server.close()
        for _ in range(ACCEPT_PASSES):
            await asyncio.sleep(0)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)
        await end_tasks(self._admissions)
        await self._server.wait_closed()
        self._directory.cleanup()

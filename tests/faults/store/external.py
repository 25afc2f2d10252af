"""A store of the suite's own, for faults of the network, the disk and the clock: Valkey with an append-only file."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from queuey.store.embedded.process import command_line, find_binary
from queuey.store.embedded.unix_socket import SOCKET_NAME

if TYPE_CHECKING:
    from tests.faults.system.rig import Setup

MAXMEMORY: Final = 200_000_000
PATIENCE: Final = 10.0


class ExternalStore:
    """Called as the embedded one is, and not supervised: what is killed stays dead until `start`."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it on what is in its folder. Returns before it answers."""
        folder = self._setup.store_folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SOCKET_NAME).unlink(missing_ok=True)
        command = command_line(find_binary(), self._setup.fsync, MAXMEMORY, self._setup.store_arguments)
        with (self._setup.folder / "store.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env={**os.environ, **self._setup.store_environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def ended(self) -> None:
        """Wait until it has. Raises TimeoutError."""
        if self._process is not None:
            await asyncio.wait_for(self._process.wait(), PATIENCE)

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        for number in (signal.SIGCONT, signal.SIGTERM):
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
        try:
            await self.ended()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

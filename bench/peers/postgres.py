"""A new PostgreSQL for one measurement, with the defaults of PostgreSQL, in a folder that is removed with it."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bench import cores
from bench.peers.environments import CannotInstall
from bench.servers import PLAN

DEBIAN: Final = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each version, which are not on the PATH."""
USER: Final = "postgres"
"""Who runs it where we are root, which PostgreSQL refuses to be."""
START_SECONDS: Final = 20
STOP_SECONDS: Final = 30


class Database:
    """`url` is what the peers are given."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def used_memory(self) -> int:
        """A database does not say what a row takes of memory. Raises RuntimeError."""
        raise RuntimeError("the memory of a job in PostgreSQL is not measured")


def program(name: str) -> str:
    """The path of one of its programs. Raises CannotInstall."""
    installed = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = str(installed[-1]) if installed else shutil.which(name)
    if found is None:
        raise CannotInstall("PostgreSQL is missing. Install it, for example by apt install postgresql.")
    return found


@asynccontextmanager
async def postgres(port: int) -> AsyncIterator[Database]:
    """Running on this port of the loopback interface, on the store's core."""
    user = USER if os.geteuid() == 0 else None
    server, initdb = program("postgres"), program("initdb")
    with tempfile.TemporaryDirectory(prefix="queuey-postgres-") as folder:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data = str(Path(folder) / "data")
        made = [initdb, "-D", data, "-U", "bench", "--auth=trust", "--encoding=UTF8", "--no-locale"]
        subprocess.run(made, cwd=folder, user=user, check=True, capture_output=True)
        command = [server, "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", "unix_socket_directories="]
        with (Path(folder) / "log").open("wb") as log:
            # Not by asyncio: uvloop starts no process as another user.
            process = subprocess.Popen(command, cwd=folder, user=user, stdout=log, stderr=log)
        try:
            cores.pin(process.pid, PLAN.store)  # its processes for connections inherit it
            await _listening(process, port, Path(folder) / "log")
            yield Database(f"postgresql://bench@127.0.0.1:{port}/postgres")
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown: connections that are open do not delay it
            process.wait(STOP_SECONDS)


async def _listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Returns when it accepts connections. Raises RuntimeError with its log."""
    for _ in range(START_SECONDS * 50):
        if "ready to accept connections" in log.read_text(errors="replace"):
            return
        if process.poll() is not None:
            break
        await asyncio.sleep(0.02)
    raise RuntimeError(f"PostgreSQL did not start on port {port}: {log.read_text(errors='replace')[-300:]}")

"""The store of one measurement: Valkey as Queuey embeds it, fresh, in a folder that goes with it."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bench import cores
from bench.peers.postgres import postgres
from bench.servers import PLAN
from queuey.store.embedded.process import command_line, find_binary

START_SECONDS: Final = 10
MEMORY: Final = 4 << 30


class Store:
    """`url` is what the peers are given."""

    def __init__(self, url: str) -> None:
        self.url: Final = url
        self._client = Redis.from_url(url)

    async def used_memory(self) -> int:
        """In bytes, without the buffers of connections, which come and go, and without scripts."""
        info = await self._client.info("memory")
        beside = ("mem_clients_normal", "mem_aof_buffer", "used_memory_scripts")
        return int(info["used_memory"]) - sum(int(info[name]) for name in beside)

    async def wait(self) -> None:
        """Returns when it answers. Raises RuntimeError."""
        for _ in range(START_SECONDS * 50):
            try:
                await self._client.ping()
                return
            except (RedisError, OSError):
                await asyncio.sleep(0.02)
        raise RuntimeError("the store did not start")

    async def close(self) -> None:
        await self._client.aclose()


class Running(Protocol):
    """A store that runs: what the peers are given, and the bytes that its data take."""

    @property
    def url(self) -> str: ...

    async def used_memory(self) -> int: ...


@asynccontextmanager
async def store(kind: str) -> AsyncIterator[Running]:
    """'plain': over TCP, in memory only. 'embedded': with the flags of Queuey's own, over its socket. 'postgres': see
    there."""
    if kind == "postgres":
        async with postgres(free_port()) as database:
            yield database
        return
    with tempfile.TemporaryDirectory(prefix="queuey-peers-") as folder:
        port = free_port()
        if kind == "embedded":
            command = command_line(find_binary(), "always", MEMORY)
            url = f"unix://{Path(folder) / 'valkey.sock'}"
        else:
            command = [str(find_binary()), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
            command += ["--appendonly", "no", "--maxmemory", str(MEMORY), "--maxmemory-policy", "noeviction"]
            url = f"redis://127.0.0.1:{port}/0"
        with (Path(folder) / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(*command, cwd=folder, env={}, stdout=log, stderr=log)
        try:
            cores.pin(process.pid, PLAN.store)
            running = Store(url)
            await running.wait()
            try:
                yield running
            finally:
                await running.close()
        finally:
            process.kill()
            await process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

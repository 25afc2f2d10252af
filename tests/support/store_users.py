"""Users of the embedded store for its tests: one in this process, one in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from queuey.store.embedded.process import Fsync
from queuey.store.embedded.store import EmbeddedStore

PATIENCE = 20.0

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from queuey.store.embedded.store import EmbeddedStore

def tell(event, fields):
    print(json.dumps([event, fields]), flush=True)

async def main():
    store = EmbeddedStore(Path(sys.argv[1]), fsync=sys.argv[2], on_event=tell)
    await store.start()
    tell("ready", {"pid": store.pid, "url": store.url})
    running = asyncio.create_task(store.run())
    await asyncio.to_thread(sys.stdin.readline)
    running.cancel()
    await store.stop()
    tell("left", {})

asyncio.run(main())
"""


class Events:
    """What a store tells, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    def __call__(self, event: str, fields: dict[str, object]) -> None:
        self.names.append(event)
        self._queue.put_nowait((event, fields))

    async def next(self, *events: str) -> dict[str, Any]:
        """Wait for one of these events, past others, and return its fields."""
        async with asyncio.timeout(PATIENCE):
            while True:
                name, fields = await self._queue.get()
                if name in events:
                    return fields


class User:
    """An EmbeddedStore in this process, supervised."""

    def __init__(
        self,
        data_dir: Path,
        fsync: Fsync = "always",
        maxmemory: int | None = 64 << 20,
        extra_args: Sequence[str] = (),
    ) -> None:
        self.events = Events()
        self.store = EmbeddedStore(
            data_dir, fsync=fsync, maxmemory=maxmemory, on_event=self.events, extra_args=extra_args
        )
        self._running: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self.store.pid is not None
        return self.store.pid

    async def start(self) -> None:
        await self.store.start()
        self._running = asyncio.create_task(self.store.run())

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            self._running = None
        await self.store.stop()

    async def command(self, *words: str) -> Any:
        return await command(self.store.url, *words)

    async def config(self, name: str) -> str:
        found: dict[str, str] = await self.command("CONFIG", "GET", name)
        return found[name]

    def kill_server(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


class OtherUser:
    """The same in a process of its own, which can be killed."""

    def __init__(self, data_dir: Path, fsync: Fsync = "always") -> None:
        self._arguments = (str(data_dir), fsync)
        self.events = Events()
        self.url = ""
        self.server_pid = 0
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        ready = await self.events.next("ready")
        self.server_pid, self.url = ready["pid"], ready["url"]

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.events(*json.loads(line))

    async def leave(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        await self.events.next("left")
        await self._ended()

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._ended()

    async def _ended(self) -> None:
        assert self._process is not None
        assert self._reading is not None
        assert self._process.stdin is not None
        await self._process.wait()
        await self._reading
        self._process.stdin.close()


@asynccontextmanager
async def users(default: Path) -> AsyncIterator[Callable[..., User]]:
    """Makes users, of one data directory unless told. Afterwards none of their servers may be left."""
    made: list[User] = []

    def make(data_dir: Path = default, **options: Any) -> User:
        made.append(User(data_dir, **options))
        return made[-1]

    yield make
    pids = [user.store.pid for user in made]
    for user in made:
        await user.stop()
    assert [pid for pid in pids if pid is not None and alive(pid)] == []


@asynccontextmanager
async def other_users(default: Path) -> AsyncIterator[Callable[..., OtherUser]]:
    """The same for users in processes of their own. What they leave behind is killed."""
    made: list[OtherUser] = []

    def make(data_dir: Path = default, fsync: Fsync = "always") -> OtherUser:
        made.append(OtherUser(data_dir, fsync))
        return made[-1]

    yield make
    for other in made:
        await other.kill()
        if other.server_pid and alive(other.server_pid):
            os.kill(other.server_pid, signal.SIGKILL)
            await until_dead(other.server_pid)


async def command(url: str, *words: str) -> Any:
    """One command, as text, without retries."""
    client = Redis.from_url(url, retry=Retry(NoBackoff(), 0), decode_responses=True)
    async with client:
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]


def alive(pid: int) -> bool:
    """Whether the process runs. One that is dead and not yet collected does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # ended since, or a system without /proc


async def until_dead(pid: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while alive(pid):  # noqa: ASYNC110 - nothing tells when another program's child ends
            await asyncio.sleep(0.01)

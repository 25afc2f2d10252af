"""The HTTP listener: uvicorn on a socket that we bind, under signals that we handle."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import sys
from collections.abc import Collection, Iterator
from typing import Any, Final, cast

import msgspec
import uvicorn

from queuey import log
from queuey.server.http.connections import Connection, Guard, Limits

BACKLOG: Final = 2048
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the 60 s after which balancers commonly close an idle connection, so that they close it first."""
CLOSE_SECONDS: Final = 5
"""How long requests under way may still take once the listener is told to stop."""
TICKS: Final = 5
"""Of uvicorn's tenths of a second, how many lie between two looks for slow clients."""
OTHER_FILES: Final = 256
"""Open files that this process needs besides its HTTP connections."""

_log = log.get(__name__)


def within_files(limits: Limits) -> Limits:
    """The limits with no more connections than this process may open files for, once it has raised that number."""
    if sys.platform == "win32":
        return limits
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        if soft < wanted:
            limits = msgspec.structs.replace(limits, connections=max(soft - OTHER_FILES, soft // 2))
            _log.warning("few_open_files", allowed=soft, connections=limits.connections)
    return limits


class Listener(uvicorn.Server):
    """Serves one ASGI application on one socket until `stop`."""

    def __init__(self, app: Any, bound: socket.socket, limits: Limits) -> None:
        self._guard = Guard(limits)
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=cast(type[Connection], functools.partial(Connection, self._guard)),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=CLOSE_SECONDS,
            )
        )
        self._socket = bound
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def start(self) -> asyncio.Task[None]:
        """Returns once requests are taken. The task ends after `stop`, or with an error."""
        self._task = asyncio.create_task(self.serve([self._socket]), name="http")
        listening = asyncio.create_task(self._listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        return self._task

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's own, and then `start` may return."""
        await super().startup(sockets)
        self._listening.set()

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's own, and now and then a look for slow clients."""
        if counter % TICKS == 0:
            connections = cast(Collection[Connection], self.server_state.connections)
            self._guard.run_once(connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def close_port(self) -> None:
        """Accept no more. What is under way is answered still."""
        self.should_exit = True

    async def stop(self) -> None:
        """Accept no more, answer what is under way, and return."""
        self.close_port()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=CLOSE_SECONDS + 1)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to queuey.lifecycle."""
        yield

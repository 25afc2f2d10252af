"""The HTTP listener: uvicorn on a socket that we bind, under signals that we handle."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any, Final, cast

import msgspec
import uvicorn

from queuey import forks, log
from queuey.server.http.connections import Connection, Guard, Limits
from queuey.server.http.direct import Direct, DirectConnection

BACKLOG: Final = 2048
KEEP_ALIVE_SECONDS: Final = 75
"""More than the 60 s after which load balancers commonly close an idle connection, so that they close it first."""
CLOSE_SECONDS: Final = 5
"""Seconds that requests under way may still take once the listener stops."""
TICKS: Final = 5
"""Tenths of a second between two looks for slow clients."""
OTHER_FILES: Final = 256
"""Number of open files that this process needs besides its HTTP connections."""

_log = log.get(__name__)


def within_files(limits: Limits) -> Limits:
    """Lower the limit of connections to the files that this process may open, once it has raised that number."""
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
    """Serves one ASGI application on one socket until `stop`. Without a `direct` every request goes through ASGI."""

    def __init__(self, app: Any, bound: socket.socket, limits: Limits, direct: Direct | None = None) -> None:
        self._guard = Guard(limits)
        connection = partial(DirectConnection, direct) if direct is not None else Connection
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=cast(type[Connection], partial(connection, self._guard)),
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
        forks.keep(bound)
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def start(self) -> asyncio.Task[None]:
        """Start to take requests. Returns the task, which ends after `stop` or with an error."""
        self._task = asyncio.create_task(self.serve([self._socket]), name="http")
        listening = asyncio.create_task(self._listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        return self._task

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then let `start` return."""
        await super().startup(sockets)
        self._listening.set()

    async def on_tick(self, counter: int) -> bool:
        """Do what uvicorn does, and look for slow clients now and then."""
        if counter % TICKS == 0:
            connections = cast(Collection[Connection], self.server_state.connections)
            self._guard.run_once(connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def close_port(self) -> None:
        """Accept no more connections. Requests under way are still answered."""
        self.should_exit = True

    async def stop(self) -> None:
        """Accept no more connections, and wait until the requests under way are answered."""
        self.close_port()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=CLOSE_SECONDS + 1)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to queuey.lifecycle."""
        yield

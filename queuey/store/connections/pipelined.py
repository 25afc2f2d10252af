"""Calls to the store over one connection, written as they come and answered in order.

Calls that are made in one pass of the event loop reach the store together and share its sync. redis-py connects and
logs in. Its work around each command (a place in a pool, a task and two timers) took longer than the rest of a call, so
it is left out here: docs/adr/0008.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from queuey.lifecycle import TimeLimit
from queuey.store.connections.session import GONE, Answer, Command, Session
from queuey.store.taskless import Pending


class PipelinedConnection:
    """One connection, which is made when it is needed, and again after it was lost.

    `pool` must make connections without timeouts. `timeout` in seconds applies to connecting and to each reply.
    If a reply does not come in time, the connection is closed and every waiting call fails. A caller may stop waiting
    at any time; other calls go on.
    """

    def __init__(self, pool: BlockingConnectionPool, timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop
        self._session: Session | None = None
        self._opening: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def timeout(self) -> float:
        """Seconds that a reply may take."""
        return self._timeout

    async def call(self, *command: bytes | str | int) -> Any:
        """Return the reply to one command. Raises the errors of redis-py, and OSError."""
        if self._session is None or not self._session.is_open:
            await self._connected()
        return await self._reply(command)

    async def calls(self, *commands: Command) -> list[Any]:
        """Return the replies to commands that are sent one after the other, each an error if the command failed."""
        if self._session is None or not self._session.is_open:
            await self._connected()
        return await asyncio.gather(*map(self._reply, commands), return_exceptions=True)

    def tell(self, command: Command, answer: Answer) -> None:
        """Send one command, and pass its reply or its error to `answer`, in the pass in which it is read.

        Raises ConnectionError if the connection is not open. A `call` opens it.
        """
        if self._session is None or not self._session.is_open:
            raise redis_errors.ConnectionError(GONE)
        self._session.send(command, answer)

    def _reply(self, command: Command) -> Pending:
        reply = Pending(loop=self._loop)
        self.tell(command, reply.settle)
        return reply

    async def close(self) -> None:
        """Close the connection for good. Waiting calls fail, and so does every later one."""
        self._is_closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._session is not None:
            self._session.end(redis_errors.ConnectionError(GONE))
            await self._session.closed.wait()

    async def _connected(self) -> None:
        """Wait for a connection. Callers that come while one is being made share that attempt, and its error."""
        if self._is_closed:  # a call that is sent again after an error would open a connection that nobody closes
            raise redis_errors.ConnectionError(GONE)
        if self._opening is None:
            self._loop = asyncio.get_running_loop()
            self._opening = self._loop.create_task(self._connect())
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        await asyncio.wait([opening])
        if opening.cancelled():  # by `close`: nobody has cancelled the caller
            raise redis_errors.ConnectionError(GONE)
        opening.result()

    def _opened(self, opening: asyncio.Task[None]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # marks the error as seen, since every caller may have stopped waiting

    async def _connect(self) -> None:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with TimeLimit(self._loop.time() + self._timeout):
                await connection.connect()  # type: ignore[no-untyped-call]
            session = Session(connection, self._timeout)
            await session.start()
        except TimeoutError:
            await connection.disconnect(nowait=True)
            raise redis_errors.TimeoutError("Timeout connecting to the store") from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._session = session


class StoreClient(Redis):
    """redis-py's client, with a link for frequent calls."""

    link: PipelinedConnection

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        if "link" in self.__dict__:  # redis-py makes copies for one connection, which have no link
            await self.link.close()
        await super().aclose(close_connection_pool)


def connect(url: str, *, timeout: float, max_connections: int = 2) -> StoreClient:
    """Make a client without retries of its own, since such a retry could run a script more than once.

    `timeout` in seconds applies to connecting and to every reply. Commands that do not go over the link share up to
    `max_connections` connections. While all are in use, a command waits for one, at most `timeout`.
    """

    def pool(seconds: float | None) -> BlockingConnectionPool:
        return BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=timeout,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
        )

    client = cast(StoreClient, StoreClient.from_pool(pool(timeout)))
    client.link = PipelinedConnection(pool(None), timeout)
    return client

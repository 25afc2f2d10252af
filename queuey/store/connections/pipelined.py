"""Calls to the store over one connection, written as they come and answered in order.

Calls that are made in one pass of the event loop reach the store together and share its sync. redis-py connects, logs
in, writes and reads. Its work around each command (a place in a pool, a task and two timers) took longer than the rest
of a call, so it is left out here: docs/adr/0008.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

GONE: Final = "Connection to the store was lost"

_pack: Final[Callable[[tuple[bytes | str | int, ...]], bytes]] = hiredis.pack_command  # type: ignore[assignment]
"""The annotation in hiredis allows only a tuple with one element."""


class _Call:
    __slots__ = ("due", "reply")

    def __init__(self, due: float, reply: asyncio.Future[Any]) -> None:
        self.due = due
        self.reply = reply


class PipelinedConnection:
    """One connection, which is made when it is needed, and again after it was lost.

    `pool` must make connections without a read timeout. `timeout` in seconds applies to connecting and to each reply.
    If a reply does not come in time, the connection is closed and every waiting call fails. A caller may stop waiting
    at any time; other calls go on.
    """

    def __init__(self, pool: BlockingConnectionPool, timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop
        self._open = False
        self._connection: AbstractConnection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._work: list[asyncio.Task[None]] = []
        """The task that reads and the one that writes, while the connection is open."""
        self._unsent: list[bytes] = []
        self._has_unsent = asyncio.Event()
        self._waiting: deque[_Call] = deque()
        """The calls without a reply, sent or not, in the order of their commands."""
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def timeout(self) -> float:
        """Seconds that a reply may take."""
        return self._timeout

    async def call(self, *command: bytes | str | int) -> Any:
        """Return the reply to one command. Raises the errors of redis-py, and OSError."""
        if not self._open:
            await self._opened_for_call()
        return await self._send(command)

    async def calls(self, *commands: tuple[bytes | str | int, ...]) -> list[Any]:
        """Return the replies to commands that are sent one after the other. Raises the first error."""
        if not self._open:
            await self._opened_for_call()
        return await asyncio.gather(*map(self._send, commands))

    async def _opened_for_call(self) -> None:
        await self._connected()
        if not self._open:  # lost again before this call had its turn
            raise redis_errors.ConnectionError(GONE)

    def _send(self, command: tuple[bytes | str | int, ...]) -> asyncio.Future[Any]:
        call = _Call(self._loop.time() + self._timeout, self._loop.create_future())
        self._waiting.append(call)
        self._unsent.append(_pack(command))
        self._has_unsent.set()
        if self._alarm is None:
            self._alarm = self._loop.call_at(call.due, self._look_at_oldest)
        return call.reply

    async def close(self) -> None:
        """Close the connection. Waiting calls fail."""
        opening, work, connection = self._opening, self._work, self._connection
        if opening is not None:
            opening.cancel()
        self._give_up(redis_errors.ConnectionError(GONE))
        if ending := [*([opening] if opening else []), *work]:
            await asyncio.wait(ending)
        if connection is not None:  # a task that reads closes it too, unless it was cancelled before its first step
            await connection.disconnect(nowait=True)

    # --- connecting -----------------------------------------------------------------------------------------------

    async def _connected(self) -> None:
        """Wait for a connection. Callers that come while one is being made share that attempt, and its error."""
        if self._opening is None:
            self._loop = asyncio.get_running_loop()
            self._opening = self._loop.create_task(self._connect())
            self._opening.add_done_callback(self._opened)
        await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[None]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # marks the error as seen, since every caller may have stopped waiting

    async def _connect(self) -> None:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(self._timeout):
                await connection.connect()  # type: ignore[no-untyped-call]
        except TimeoutError:
            await connection.disconnect(nowait=True)
            raise redis_errors.TimeoutError("Timeout connecting to the store") from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._open = True
        self._connection = connection
        self._work = [self._loop.create_task(part(connection)) for part in (self._read, self._write)]

    # --- writing and reading --------------------------------------------------------------------------------------

    async def _write(self, connection: AbstractConnection) -> None:
        """Send all commands that came since the last write in one write."""
        try:
            while True:
                await self._has_unsent.wait()
                self._has_unsent.clear()
                unsent, self._unsent = b"".join(self._unsent), []
                await connection.send_packed_command(unsent, check_health=False)
        except (redis_errors.RedisError, OSError) as error:
            self._give_up(error)

    async def _read(self, connection: AbstractConnection) -> None:
        try:
            while True:
                try:
                    self._answer(await connection.read_response(), None)
                except redis_errors.ResponseError as error:
                    self._answer(None, error)
        except (redis_errors.RedisError, OSError) as error:
            self._give_up(error)
        finally:
            await connection.disconnect(nowait=True)

    def _answer(self, reply: Any, error: Exception | None) -> None:
        if not self._waiting:
            raise redis_errors.InvalidResponse("The store sent a reply that belongs to no command")
        call = self._waiting.popleft()
        if call.reply.done():
            return  # its caller has stopped waiting
        if error is None:
            call.reply.set_result(reply)
        else:
            call.reply.set_exception(error)

    def _look_at_oldest(self) -> None:
        """Give up if the oldest call is overdue. One timer is enough: all calls wait equally long."""
        self._alarm = None
        if not self._waiting:
            return
        if self._waiting[0].due > self._loop.time():
            self._alarm = self._loop.call_at(self._waiting[0].due, self._look_at_oldest)
        else:
            self._give_up(redis_errors.TimeoutError(f"Timeout reading from the store: no reply in {self._timeout:g} s"))

    def _give_up(self, error: Exception) -> None:
        """Stop using the connection. All waiting calls fail, the oldest with `error`, which may be its reply."""
        self._open = False
        for task in self._work:
            if task is not asyncio.current_task():
                task.cancel()
        self._work = []
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        waiting, self._waiting = self._waiting, deque()
        self._unsent.clear()
        self._has_unsent.clear()
        for call in waiting:
            if not call.reply.done():
                call.reply.set_exception(error)
            error = redis_errors.ConnectionError(GONE)


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

    def pool(reply_timeout: float | None) -> BlockingConnectionPool:
        return BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=timeout,
            socket_timeout=reply_timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )

    client = cast(StoreClient, StoreClient.from_pool(pool(timeout)))
    client.link = PipelinedConnection(pool(None), timeout)
    return client

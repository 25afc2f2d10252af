"""One open connection to the store: commands go out in the order of the calls, and each reply goes to its call.

redis-py connects and logs in. Then the session takes the transport over, since redis-py's stream needs two tasks and
three passes of the event loop for a reply: docs/adr/0008. tests/contracts/test_redis_py.py names the parts of redis-py
that are used here although they are private.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
from redis import exceptions as redis_errors
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio.connection import AbstractConnection

from queuey.lifecycle import Alarm

GONE: Final = "Connection to the store was lost"
CLOSED_BY_STORE: Final = "Connection closed by server."

Command = tuple[bytes | str | int, ...]
Answer = Callable[[Any, Exception | None], None]
"""Called once with the reply to a command, or with an error instead. It must be short and must not raise."""

_pack: Final[Callable[[Command], bytes]] = hiredis.pack_command  # type: ignore[assignment]
"""The annotation in hiredis allows only a tuple with one element."""


class Session(asyncio.Protocol):
    """Sends commands over an open connection and reads the replies.

    `timeout` in seconds applies to each reply. If a reply does not come in time, or if the connection is lost, the
    session ends, and every waiting command is answered with an error. While the store does not read, commands wait here
    and are sent once it does.
    """

    def __init__(self, connection: AbstractConnection, timeout: float) -> None:
        parts = cast(Any, connection)
        self._connection = parts
        self._reader: hiredis.Reader = parts._parser._reader
        self._transport: asyncio.Transport = parts._writer.transport
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, Answer]] = deque()
        """When each command is overdue and what takes its reply, in the order of the commands, sent or not."""
        self._unsent: list[bytes] = []
        """The commands of this pass of the event loop, which go out together, as the store then syncs once for all."""
        self._paused = False
        self._alarm: Alarm | None = None
        self.is_open = True
        self.closed = asyncio.Event()
        """Set when the socket is closed."""

    async def start(self) -> None:
        """Take the transport over from redis-py, with what has been read from it but not yet parsed."""
        stream: asyncio.StreamReader = self._connection._reader
        lost = stream.at_eof() or stream.exception() is not None or self._transport.is_closing()
        self._transport.set_protocol(self)
        stream.feed_eof()  # so that it gives all that it has, without waiting for more
        early = b"" if stream.exception() else await stream.read()
        self.data_received(early)
        if lost:
            self.closed.set()  # connection_lost was called on the stream's protocol, or never will be
            self.end(redis_errors.ConnectionError(CLOSED_BY_STORE))

    def send(self, command: Command, answer: Answer) -> None:
        """Send a command, and pass the reply to `answer`. The session must be open."""
        packed = _pack(command)
        due = self._loop.time() + self._timeout
        self._waiting.append((due, answer))
        if self._alarm is None:
            self._alarm = Alarm(due, self._look_at_oldest)
        if not self._unsent:
            self._loop.call_soon(self._send_gathered)
        self._unsent.append(packed)

    def end(self, error: Exception) -> None:
        """Close the connection. All waiting commands fail, the oldest with `error`, which may be its reply."""
        if not self.is_open:
            return
        self.is_open = False
        self._transport.abort()
        self._connection._close()  # the public way is a coroutine
        self._unsent.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        waiting, self._waiting = self._waiting, deque()
        for _, answer in waiting:
            self._pass(answer, None, error)
            error = redis_errors.ConnectionError(GONE)

    # --- called by the transport ----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came, and answer the commands whose replies are complete."""
        reader = self._reader
        reader.feed(data)
        try:
            while self.is_open and (reply := reader.gets()) is not NOT_ENOUGH_DATA:
                self._take(reply)
        except redis_errors.RedisError as error:
            self.end(error)

    def connection_lost(self, error: Exception | None) -> None:
        """End the session, because the socket is closed: by the store, by a fault on the way, or by `end`."""
        self.closed.set()
        if error is None:
            self.end(redis_errors.ConnectionError(CLOSED_BY_STORE))
        else:
            place = self._connection._host_error()
            self.end(redis_errors.ConnectionError(f"Error while reading from {place} : {error.args}"))

    def pause_writing(self) -> None:
        """Gather commands from now on, because the store does not read what was sent."""
        self._paused = True

    def resume_writing(self) -> None:
        """Send what was gathered."""
        self._paused = False
        self._send_gathered()

    # --------------------------------------------------------------------------------------------------------------

    def _send_gathered(self) -> None:
        if self._unsent and not self._paused:
            unsent, self._unsent = b"".join(self._unsent), []
            self._transport.write(unsent)

    def _take(self, reply: Any) -> None:
        """Pass a reply on. Raises an error after which redis-py, too, gives the connection up."""
        error = None
        if isinstance(reply, hiredis.PushNotification):
            return  # it belongs to no command
        if isinstance(reply, Exception):
            if not isinstance(reply, redis_errors.ResponseError):
                raise reply
            reply, error = None, reply
        elif isinstance(reply, list) and reply and isinstance(reply[0], redis_errors.ConnectionError):
            raise reply[0]
        if not self._waiting:
            raise redis_errors.InvalidResponse("The store sent a reply that belongs to no command")
        _, answer = self._waiting.popleft()
        self._pass(answer, reply, error)

    def _pass(self, answer: Answer, reply: Any, error: Exception | None) -> None:
        try:
            answer(reply, error)
        except Exception as fault:  # report it, as for any callback: the other commands must get their replies
            context = {"message": "The callback for a reply of the store failed", "exception": fault}
            self._loop.call_exception_handler(context)

    def _look_at_oldest(self) -> None:
        """End the session if the oldest command is overdue. One timer is enough: all wait equally long."""
        self._alarm = None
        if not self._waiting:
            return
        due, _ = self._waiting[0]
        if due > self._loop.time():
            self._alarm = Alarm(due, self._look_at_oldest)
        else:
            self.end(redis_errors.TimeoutError(f"Timeout reading from the store: no reply in {self._timeout:g} s"))

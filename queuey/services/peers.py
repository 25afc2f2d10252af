"""The exchange of metrics among the replicas of `--processes N`, through their parent.

The replica that is asked for /metrics asks its parent, and the parent asks the others (supervisor.py). Questions and
answers go both ways over a socket pair, beside the one for orders. A message is its length (4 bytes, big-endian) and
MessagePack. The reasons are in docs/adr/0014-metrics-of-processes.md.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import msgspec

HEADER_BYTES: Final = 4
MESSAGE_LIMIT: Final = 256 << 20
"""Bytes. It allows 4 MB for each of 64 replicas, more than the capped series of one can fill."""
PEER_SECONDS: Final = 1.0
"""Seconds that the parent waits for a replica. One whose event loop is blocked is left out."""
PARENT_SECONDS: Final = 2.0
"""Seconds that a replica waits for its parent, which may have waited for another replica."""

Respond = Callable[[str], Awaitable[list[str]]]
"""Makes the answer to a question."""


class Question(msgspec.Struct, tag=True, array_like=True):
    """A question from the other end."""

    id: int
    text: str


class Answer(msgspec.Struct, tag=True, array_like=True):
    """The answer to the question with that id: a text from each replica that had one."""

    id: int
    texts: list[str]


_decode: Final[Callable[[bytes], Question | Answer]] = msgspec.msgpack.Decoder(Question | Answer).decode


class Channel:
    """One end of the socket pair.

    After an answer that did not come in time nothing is asked until it has come. So an end that hangs costs a single
    wait, and few messages pile up for it.
    """

    def __init__(self, end: socket.socket, respond: Respond) -> None:
        self._end = end
        self._respond = respond
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[int, asyncio.Future[list[str]]] = {}
        self._ids = itertools.count()
        self._silent = False
        """Whether an answer is overdue."""

    async def open(self) -> None:
        """Read what the other end sends, from now on."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._end)
        self._spawn(self._listen(reader, self._writer))

    def close(self) -> None:
        """Close this end."""
        for task in self._tasks:
            task.cancel()
        (self._writer or self._end).close()

    async def ask(self, text: str, seconds: float) -> list[str]:
        """Return the answer of the other end; nothing when it does not answer in time, is gone, or was not opened."""
        writer = self._writer
        if self._silent or writer is None or writer.is_closing():
            return []
        number = next(self._ids)
        answer: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        writer.write(_pack(Question(number, text)))
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            self._silent = True
            return []
        finally:
            del self._waiting[number]

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read until the other end is gone, or sends something unknown, as another version may."""
        try:
            while True:
                message = await _receive(reader)
                if isinstance(message, Question):
                    self._spawn(self._answer(message, writer))
                    continue
                self._silent = False
                waiting = self._waiting.get(message.id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message.texts)
        except (EOFError, OSError, msgspec.MsgspecError):
            writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_result([])

    async def _answer(self, question: Question, writer: asyncio.StreamWriter) -> None:
        texts = await self._respond(question.text)
        if not writer.is_closing():
            writer.write(_pack(Answer(question.id, texts)))


def _pack(message: Question | Answer) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(HEADER_BYTES) + body


async def _receive(reader: asyncio.StreamReader) -> Question | Answer:
    """Raises EOFError, OSError, MsgspecError."""
    length = int.from_bytes(await reader.readexactly(HEADER_BYTES))
    if length > MESSAGE_LIMIT:
        raise ConnectionAbortedError(f"a message of {length} bytes")
    return _decode(await reader.readexactly(length))


@dataclass(frozen=True)
class Place:
    """The place of a replica among those of its parent: from 1 to `count`, and 0 without a parent."""

    number: int = 0
    count: int = 1
    parent: socket.socket | None = None


ALONE: Final = Place()


class Peers:
    """The other replicas of the same parent. A server without a parent has none.

    `answer` makes the text of this replica when another one asks, in the format of a content type.
    """

    def __init__(self, place: Place, answer: Callable[[str], str]) -> None:
        self.count = place.count
        self._answer = answer
        self._parent = Channel(place.parent, self._respond) if place.parent is not None else None

    async def open(self) -> None:
        """Take questions from now on."""
        if self._parent is not None:
            await self._parent.open()

    def close(self) -> None:
        """Answer no more."""
        if self._parent is not None:
            self._parent.close()

    async def ask(self, content_type: str) -> list[str]:
        """Return the texts of the other replicas, of those that answer in time."""
        return await self._parent.ask(content_type, PARENT_SECONDS) if self._parent is not None else []

    async def _respond(self, content_type: str) -> list[str]:
        return [self._answer(content_type)]

"""How the replicas of `--processes N` tell one another what they have counted: through their parent.

The one that is asked for /metrics asks its parent, and the parent asks the others (supervisor.py). Questions and
answers go both ways over a socket pair, beside the one for orders. A message is its length (4 bytes, big-endian) and
MessagePack. docs/adr/0014-metrics-of-processes.md says why.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import msgspec

HEADER_BYTES: Final = 4
MESSAGE_LIMIT: Final = 256 << 20
"""Bytes: of 64 replicas 4 MB each, which is more than the capped series of one can fill."""
SIBLING_SECONDS: Final = 1.0
"""How long the parent waits for a replica: one whose event loop is blocked is left out."""
PARENT_SECONDS: Final = 2.0
"""How long a replica waits for its parent, who may have waited for another."""

Respond = Callable[[str], Awaitable[list[str]]]
"""Makes the answer to a question."""


class Question(msgspec.Struct, tag=True, array_like=True):
    id: int
    text: str


class Answer(msgspec.Struct, tag=True, array_like=True):
    """To the question with that id: a text from each replica that had one."""

    id: int
    texts: list[str]


_decode: Final[Callable[[bytes], Question | Answer]] = msgspec.msgpack.Decoder(Question | Answer).decode


class Channel:
    """One end of the socket pair. Who did not answer in time is not asked again until that answer has come, so
    one that hangs costs a single wait, and few messages lie there for it."""

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
        """From now on the other end is heard."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._end)
        self._spawn(self._listen(reader, self._writer))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        (self._writer or self._end).close()

    async def ask(self, text: str, seconds: float) -> list[str]:
        """What the other end answers; nothing when it does not answer within that time, is gone, or was not opened."""
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
        """Until the other end is gone, or says what is none of these messages, as another version of this may."""
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


class Peers:
    """The replicas of one parent, as one of them sees them; of a server without a parent there is this one alone."""

    def __init__(self, number: int = 0, count: int = 1, parent: socket.socket | None = None) -> None:
        """`number`: the place of this one, from 1 to `count`; 0 when there is no parent."""
        self.number = number
        self.count = count
        self.tell: Callable[[str], str] = lambda content_type: ""
        """What this replica answers when another one is asked."""
        self._parent = Channel(parent, self._respond) if parent is not None else None

    async def open(self) -> None:
        if self._parent is not None:
            await self._parent.open()

    def close(self) -> None:
        if self._parent is not None:
            self._parent.close()

    async def ask(self, content_type: str) -> list[str]:
        """What each of the others tells, of those that answer in time."""
        return await self._parent.ask(content_type, PARENT_SECONDS) if self._parent is not None else []

    async def _respond(self, content_type: str) -> list[str]:
        return [self.tell(content_type)]

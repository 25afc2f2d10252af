"""A client of Server-Sent Events, over the application in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from tests.support.http import HOST, ApiRig
from tests.support.working import PATIENCE


class Event(NamedTuple):
    name: str
    data: dict[str, Any]
    id: str = ""


class Stream:
    """What came so far; it is read as it is sent, unless `reading` is cleared."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.reading = asyncio.Event()
        self.reading.set()
        self.gone = asyncio.Event()
        self._body = b""
        self._more = asyncio.Event()
        self._ended = False
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            await self.reading.wait()
            self._body += message.get("body", b"")
            self._ended = not message.get("more_body", False)
        self._more.set()

    async def chunk(self) -> str:
        """The next message, pings included; '' at the end."""
        async with asyncio.timeout(PATIENCE):
            while b"\n\n" not in self._body:
                if self._ended:
                    assert self._body == b"", self._body
                    return ""
                self._more.clear()
                await self._more.wait()
        text, _, self._body = self._body.partition(b"\n\n")
        return text.decode()

    async def next(self) -> Event | None:
        """The next event; None at the end."""
        while (text := await self.chunk()).startswith(":"):
            pass
        if not text:
            return None
        fields = dict(line.split(": ", 1) for line in text.split("\n"))
        return Event(fields["event"], json.loads(fields["data"]), fields.get("id", ""))

    async def expect(self, name: str, **data: object) -> Event:
        """The next event, which must be this one."""
        event = await self.next()
        assert event is not None, "the stream has ended"
        assert (event.name, event.data | data) == (name, event.data), (event, data)
        return event


@asynccontextmanager
async def streaming(api: ApiRig, path: str, **headers: str) -> AsyncIterator[Stream]:
    """A stream that has begun. After the block its client is gone, and the application must have ended."""
    stream = Stream()
    route, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": route,
        "query_string": query.encode(),
        "headers": [(b"host", HOST.encode())]
        + [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    call = asyncio.create_task(api.app(scope, stream.receive, stream.send))
    async with asyncio.timeout(PATIENCE):
        while not stream.status:
            stream._more.clear()
            await stream._more.wait()
    try:
        yield stream
    finally:
        stream.gone.set()
        async with asyncio.timeout(PATIENCE):
            await call

"""HTTP connections over a transport that is none, and the clients at its other end."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any, Final, cast

import uvicorn
from uvicorn.server import ServerState

from queuey.server.http.connections import Connection, Guard, Limits
from queuey.server.http.direct import Direct, DirectConnection

GET: Final = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED: Final = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMITS: Final = Limits(idle=75, head=10, body=60, reply=30, connections=100)


class Wire(asyncio.Transport):
    """A transport that keeps what is written, of which `unread` bytes are still to be taken by the client."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unread = 0
        self.closed = False
        self.aborted = False
        self.reads: list[str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "written to after it was closed"
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        self.reads.append("paused")

    def resume_reading(self) -> None:
        self.reads.append("resumed")


class Application:
    """Reads bodies, and answers with the path, the headers and the body, once `open` is set. For the path /watch it
    waits until the client has disconnected."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.gone = 0
        self.started = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.started += 1
        if scope["path"] != "/early":
            body = b""
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.gone += 1
                    return
                body += message["body"]
                if not message["more_body"] and scope["path"] != "/watch":
                    break
            await self.open.wait()
            text = b"%s %d headers, %s" % (scope["path"].encode(), len(scope["headers"]), body)
        else:
            text = b"early"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
        await send({"type": "http.response.body", "body": text})


class Client:
    """One client of a listener: what it sends, and what comes back."""

    def __init__(self, listener: Listening) -> None:
        self.wire = Wire()
        self.connection = listener.connection()
        self.connection.connection_made(self.wire)

    async def send(self, *pieces: bytes) -> None:
        """Each piece as the socket would hand it over; the application may then do what it can."""
        for piece in pieces:
            if not self.wire.closed:
                self.connection.data_received(piece)
            await settle()

    def end(self) -> bool:
        """Close the sending side. Returns whether the connection stays open."""
        return bool(self.connection.eof_received())

    def go(self) -> None:
        self.wire.close()
        self.connection.connection_lost(None)

    @property
    def replies(self) -> list[tuple[int, bytes]]:
        """Status and body of each reply so far."""
        found, rest = [], self.wire.written
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            found.append((int(head.split()[1]), rest[:length]))
            rest = rest[length:]
        return found

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and code of the only reply, a problem, after which the connection was closed."""
        ((status, body),) = self.replies
        assert self.wire.closed
        assert not self.wire.aborted
        assert b"connection: close\r\n" in self.wire.written
        assert b"content-type: application/problem+json\r\n" in self.wire.written
        problem = json.loads(body)
        assert problem["status"] == status
        return status, problem["type"].rpartition(":")[2]


class Listening:
    """What the connections of one listener share."""

    def __init__(self, app: Any = None) -> None:
        """`app`: instead of an Application. Set `direct` to have requests take the direct path."""
        self.app = Application()
        self.direct: Direct | None = None
        self.state = ServerState()
        self.config = uvicorn.Config(
            cast(Any, app or self.app),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        self.config.load()
        self.limited(LIMITS)

    def limited(self, limits: Limits) -> None:
        self.guard = Guard(limits)

    def connection(self) -> Connection:
        kind = partial(DirectConnection, self.direct) if self.direct is not None else Connection
        loop = asyncio.get_running_loop()
        return kind(self.guard, config=self.config, server_state=self.state, app_state={}, _loop=loop)

    def client(self) -> Client:
        return Client(self)

    def look(self, after: float) -> None:
        """The guard's look for slow clients, so many seconds from now."""
        connections = cast(set[Connection], self.state.connections)
        self.guard.run_once(connections, asyncio.get_running_loop().time() + after)


async def settle() -> None:
    """Let every task do what it can without anything new from outside."""
    for _ in range(10):
        await asyncio.sleep(0)

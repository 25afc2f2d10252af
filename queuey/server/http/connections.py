"""HTTP connections with bounds: what a client may send, how slowly it may send and read, and how many there may be.

uvicorn's protocol by itself takes a head without an end and waits for ever for the rest of it, lets trailers pass for
headers, answers bytes that follow a request before the request itself, and drops the reply to a client that has closed
its sending side.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Collection, Iterable
from http import HTTPStatus
from typing import Any, Final, Literal, cast

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from queuey import log
from queuey.api.http.problems import problem_response
from queuey.errors import HeadTooLarge, Malformed, QueueyError, RequestTimeout, TooManyConnections

MAX_HEAD: Final = 32_768
"""Maximum bytes of a request line and its headers, and of what is neither: chunk extensions and trailers."""
MAX_HEADERS: Final = 100
MAX_AHEAD: Final = 32
"""Maximum number of requests that a client may send before the first of them is answered."""
EVICTED_SHARE: Final = 64
"""One connection in so many is closed at a time, since finding them takes a look at every connection."""

_FRAMING: Final = (b"content-length", b"transfer-encoding")
_HOST: Final = re.compile(rb"(\[[0-9A-Za-z:.%_~-]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(:[0-9]*)?")
"""A host name or address, and perhaps a port (RFC 9112, 3.2). It may be empty."""

Waiting = Literal["idle", "head", "body", "reply", "us"]
"""A connection's wait: for its next request, a whole head, a whole body, its client to read the reply, or us."""

_DROPPED: Final = cast(list[tuple[bytes, bytes]], deque(maxlen=0))
"""A list that drops trailers."""

# Every request passes through these: by name they are found sooner than by super().
_on_headers_complete = HttpToolsProtocol.on_headers_complete
_on_body = HttpToolsProtocol.on_body
_on_message_complete = HttpToolsProtocol.on_message_complete

_log = log.get(__name__)


class Limits(msgspec.Struct, frozen=True):
    """Seconds that a client has before its next request, for a head, for a body, and to read a reply; and how many
    connections there may be."""

    idle: float
    head: float
    body: float
    reply: float
    connections: int


class Connection(HttpToolsProtocol):
    """One connection. `refuse` ends it with a problem, unless a reply has begun."""

    def __init__(self, guard: Guard, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.headers = []
        self._guard = guard
        self._unparsed = 0
        """Number of bytes since the last whole head or piece of a body."""
        self._in_body = False
        self.deaf = False
        """Whether further bytes are dropped, since the connection closes after the replies that are due."""
        self._heads = 0
        """Number of whole heads that came."""
        self._ahead: deque[RequestResponseCycle] = deque(maxlen=MAX_AHEAD)
        """The requests that were followed by the next one before their reply. Some may have it now."""
        self._seen: tuple[Waiting, int] = ("head", 0)
        self._since = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._since = self.loop.time()
        connections = cast(Collection[Connection], self.connections)
        if len(connections) > self._guard.limits.connections and not self._guard.make_room(connections, self):
            self.refuse(TooManyConnections("All connections of this server are busy. Try again."))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for cycle in self._ahead:  # uvicorn tells the last request alone, and another one may be answered now
            cycle.disconnected = True
            cycle.message_event.set()

    @property
    def _under_way(self) -> bool:
        """Return whether a request is not answered yet."""
        cycle = cast(RequestResponseCycle | None, self.cycle)  # which uvicorn declares without the None
        return cycle is not None and not cycle.response_complete

    # --- what comes in --------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            ours = error.__context__
            self.refuse(ours if isinstance(ours, QueueyError) else Malformed("This cannot be read as HTTP/1.1."))
        else:
            if self._unparsed > MAX_HEAD or len(self.headers) > MAX_HEADERS:
                self.refuse(_too_much_head())

    def on_headers_complete(self) -> None:
        """Parse what came. Raises the error with which `data_received` refuses the request."""
        if len(self.headers) > MAX_HEADERS or (self._unparsed > MAX_HEAD and self._head_size() > MAX_HEAD):
            raise _too_much_head()
        if len(self.pipeline) >= MAX_AHEAD:
            raise Malformed(f"More than {MAX_AHEAD} requests were sent ahead of their replies.")
        self._check_host()
        before = self.cycle
        _on_headers_complete(self)
        if self.pipeline:
            self._ahead.append(before)
        self._unparsed = 0
        self._in_body = True
        self._heads += 1
        self.headers = _DROPPED

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        _on_body(self, body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        self._in_body = False
        _on_message_complete(self)

    def on_response_complete(self) -> None:
        """Do what uvicorn does, without its timer for every reply: the guard ends idle connections too."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _check_host(self) -> None:
        """Check that there is one valid Host header, which HTTP/1.0 may leave out. Raises Malformed."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1:
            raise Malformed("The request has more than one Host header. Send one.")
        if not hosts and self.parser.get_http_version() != "1.0":
            raise Malformed("The request has no Host header. Send one, such as 'Host: localhost'.")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise Malformed(
                "The Host header is not valid. Send a host name or address, such as 'Host: localhost:8000'."
            )

    def _ignore_upgrade(self, data: bytes) -> None:
        """Go on with HTTP/1.1, which Java's HttpClient for one expects: it asks for HTTP/2 this way by itself.

        To the parser such a request ends with its head; if it has a body, another one must read that.
        """
        framing = [b"%s: %s\r\n" % header for header in self.scope["headers"] if header[0] in _FRAMING]
        if framing:
            data = b"POST / HTTP/1.1\r\n" + b"".join(framing) + b"\r\n" + data
            self.parser = httptools.HttpRequestParser(_Body(self))
            self.cycle.keep_alive = False
            self.cycle.more_body = self._in_body = True
        if data:
            self.data_received(data)

    # --- the end --------------------------------------------------------------------------------------------------

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection open while replies are due to a client that has closed its sending side.

        Returns whether any are due. A request that came in part is dropped. A transport may call this more than once.
        """
        if self._in_body and self.pipeline:
            self.pipeline.popleft()
            self.cycle = self._ahead.pop()
            self._in_body = False
        if self._in_body or not self._under_way or self.transport.is_closing():
            return False
        self.deaf = True
        self.cycle.keep_alive = False
        for cycle in (*self._ahead, self.cycle):
            if not isinstance(cycle.message_event, _NoMore):
                came = cycle.message_event
                cycle.message_event = _NoMore(cycle, unread=came.is_set())
                came.set()
        return True

    def refuse(self, error: QueueyError) -> None:
        """Close the connection: with this problem if a reply is due now, otherwise after the replies that are due."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if self._in_body:
            if cycle.response_started or self.pipeline:
                self.transport.abort()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        elif self._under_way:
            cycle.keep_alive = False
            self.deaf = True
            return
        self.transport.write(self._last_reply(error))
        self.transport.close()

    def _last_reply(self, error: QueueyError) -> bytes:
        response = problem_response(error, {})
        headers = [*self.server_state.default_headers, *response.raw_headers]
        return written(response.status_code, headers, bytes(response.body), keep_alive=False)

    # --- slow clients ---------------------------------------------------------------------------------------------

    def _waits_for(self) -> Waiting:
        if self.transport.get_write_buffer_size():
            return "reply"
        if self.pipeline:
            return "us"
        if self._in_body:
            return "body"
        if self._under_way:
            return "us"
        return "idle" if self._heads and not self._unparsed else "head"

    def end_if_slow(self, now: float) -> bool:
        """Close the connection when its client was too slow. Returns whether it was with a head, a body or a reply."""
        waiting = self._waits_for()
        if (waiting, self._heads) != self._seen:
            self._seen = (waiting, self._heads)
            self._since = now
            return False
        if waiting == "us" or now - self._since < (allowed := getattr(self._guard.limits, waiting)):
            return False
        if waiting == "reply" or not (self._in_body or self._unparsed):
            self.transport.abort()
        else:
            self.refuse(RequestTimeout(f"The {waiting} of the request did not come within {allowed:g} seconds."))
        return waiting != "idle"

    @property
    def age(self) -> tuple[bool, float] | None:
        """Return a sort key: connections to close first come first. None: it is in use, or closed already."""
        if self._under_way or self.transport.get_write_buffer_size() or self.transport.is_closing():
            return None
        return self._heads > 0, self._since


def written(code: int, headers: Iterable[tuple[bytes, bytes]], body: bytes, *, keep_alive: bool) -> bytes:
    """Return a reply as uvicorn would write it."""
    status = HTTPStatus(code)
    head = b"".join(b"%s: %s\r\n" % header for header in headers)
    end = b"" if keep_alive else b"connection: close\r\n"
    return b"HTTP/1.1 %d %s\r\n%s%s\r\n%s" % (status, status.phrase.encode(), head, end, body)


class Guard:
    """Holds the connections of one listener to its limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._evicted = 0
        self._room = 0
        """Number of connections that may still come in place of those that were closed for them."""

    def run_once(self, connections: Collection[Connection], now: float) -> None:
        """Close the connections of clients that are too slow. `now`: the event loop's time."""
        slow = sum(connection.end_if_slow(now) for connection in list(connections))
        if slow or self._evicted:
            _log.info("connections_closed", slow=slow, to_make_room=self._evicted, open=len(connections))
        self._evicted = 0

    def make_room(self, connections: Collection[Connection], newcomer: Connection) -> bool:
        """Close some connections without a request under way: those that never had one first, then by age.

        Returns whether there were any.
        """
        if self._room == 0:
            ages = [(connection.age, connection) for connection in connections if connection is not newcomer]
            closable = sorted(((age, connection) for age, connection in ages if age), key=lambda pair: pair[0])
            for _, connection in closable[: max(1, len(connections) // EVICTED_SHARE)]:
                connection.transport.abort()
                self._room += 1
            self._evicted += self._room
        if self._room == 0:
            return False
        self._room -= 1
        return True


class _NoMore(asyncio.Event):
    """The event for which a request waits in `receive`, once its client has closed its sending side.

    The request still receives what came. If it then waits for the client to disconnect, as long polls, other waits and
    event streams do, the client counts as disconnected: a worker that died looks the same, and must get no job.
    """

    def __init__(self, cycle: RequestResponseCycle, *, unread: bool) -> None:
        super().__init__()
        self._cycle = cycle
        self._unread = unread

    async def wait(self) -> Literal[True]:
        return True

    def clear(self) -> None:
        """Note that the request has received what came, or that it waits for more."""
        if self._unread:
            self._unread = False
        else:
            self._cycle.disconnected = True
            self._cycle.transport.close()


class _Body:
    """The callbacks of a parser that reads the body of a request whose head has been read. What follows is dropped."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def on_body(self, body: bytes) -> None:
        if not self._connection.deaf:
            self._connection.on_body(body)

    def on_message_complete(self) -> None:
        if not self._connection.deaf:
            self._connection.on_message_complete()
            self._connection.deaf = True


def _too_much_head() -> HeadTooLarge:
    return HeadTooLarge(f"A request may have at most {MAX_HEADERS} headers, and {MAX_HEAD} bytes before its body.")

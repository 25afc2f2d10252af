"""One HTTP connection over a transport that is none: what it takes, in which order it answers, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any, Final, cast

import pytest
import uvicorn
from structlog.testing import capture_logs
from uvicorn.server import ServerState

from queuey.connections import EVICTED_SHARE, MAX_AHEAD, MAX_HEAD, MAX_HEADERS, Connection, Guard, Limits

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
    """Reads bodies, and answers with the path, the headers and the body, once `open` is set."""

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
                if not message["more_body"]:
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
        loop = asyncio.get_running_loop()
        state = listener.state
        self.connection = Connection(
            listener.guard, config=listener.config, server_state=state, app_state={}, _loop=loop
        )
        self.connection.connection_made(self.wire)

    async def send(self, *pieces: bytes) -> None:
        """Each piece as the socket would hand it over; the application may then do what it can."""
        for piece in pieces:
            if not self.wire.closed:
                self.connection.data_received(piece)
            await settle()

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

    def __init__(self) -> None:
        self.app = Application()
        self.state = ServerState()
        self.config = uvicorn.Config(
            cast(Any, self.app),
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


@pytest.fixture
async def listener() -> Listening:
    return Listening()


@pytest.fixture
async def client(listener: Listening) -> Client:
    return listener.client()


def head(size: int, line: int = 10_000) -> bytes:
    """The head of a GET, of exactly so many bytes by our count: the path, and each header with its 4 of punctuation."""
    headers = b""
    size -= len(b"/1")
    while size:
        taken = min(size, line) if size - line > 10 or size <= line else size - line
        headers += b"a: " + b"x" * (taken - 5) + b"\r\n"
        size -= taken
    return b"GET /1 HTTP/1.1\r\n" + headers + b"\r\n"


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# --- heads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100_000, 1000, 17])
async def test_a_head_within_the_limit_is_taken_however_it_comes(client: Client, size: int) -> None:
    await client.send(*pieces(head(MAX_HEAD - 20), size), GET % 2)
    assert [status for status, _ in client.replies] == [200, 200]
    assert not client.wire.closed


@pytest.mark.parametrize("size", [100_000, 1000])
@pytest.mark.parametrize(
    "data",
    [
        head(MAX_HEAD + 1),
        b"GET / HTTP/1.1\r\na: " + b"x" * (2 * MAX_HEAD),
        b"GET / HTTP/1.1\r\n" + b"x" * (2 * MAX_HEAD),
        b"GET /" + b"x" * (2 * MAX_HEAD),
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEADERS + 2),
    ],
    ids=["long", "endless-value", "endless-name", "endless-path", "many-headers", "endless-headers"],
)
async def test_a_head_beyond_the_limit_is_refused(listener: Listening, client: Client, data: bytes, size: int) -> None:
    await client.send(*pieces(data, size))
    assert client.refusal == (431, "head-too-large")
    assert listener.app.started == 0


async def test_as_many_headers_as_allowed_are_taken(client: Client) -> None:
    await client.send(b"GET /1 HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEADERS + b"\r\n")
    assert client.replies == [(200, b"/1 %d headers, " % MAX_HEADERS)]


async def test_a_large_body_in_one_piece_with_its_head_is_no_large_head(client: Client) -> None:
    body = b"x" * (3 * MAX_HEAD)
    await client.send(b"POST /1 HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert client.replies == [(200, b"/1 1 headers, " + body)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\na\x00b: c\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_answered_with_a_problem(client: Client, data: bytes) -> None:
    await client.send(data)
    assert client.refusal == (400, "malformed")


# --- bodies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100_000, 1000])
@pytest.mark.parametrize(
    "data",
    [b"1;" + b"x" * (2 * MAX_HEAD), b"0\r\na: " + b"x" * (2 * MAX_HEAD), b"0\r\n" + b"a: b\r\n" * MAX_HEAD],
    ids=["chunk-extension", "trailer", "trailers"],
)
async def test_what_is_neither_head_nor_body_has_an_end(
    listener: Listening, client: Client, data: bytes, size: int
) -> None:
    await client.send(CHUNKED, *pieces(data, size))
    assert client.refusal == (431, "head-too-large")
    assert listener.app.gone == 1


async def test_a_head_counts_no_more_once_it_is_whole(client: Client) -> None:
    data = head(MAX_HEAD - 100).replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.send(data, b"1;" + b"x" * 5000, b"\r\na\r\n0\r\n\r\n")
    assert [status for status, _ in client.replies] == [200]


@pytest.mark.parametrize("split", [True, False])
async def test_trailers_are_no_headers(client: Client, split: bool) -> None:
    rest = b"3\r\nabc\r\n0\r\nx-api-key: stolen\r\nhost: localhost\r\n\r\n"
    await client.send(*([CHUNKED, rest] if split else [CHUNKED + rest]))
    assert client.replies == [(200, b"/ 2 headers, abc")]


async def test_a_body_in_chunks_may_be_long(client: Client) -> None:
    chunk = b"1000;x=y\r\n" + b"x" * 0x1000 + b"\r\n"
    await client.send(CHUNKED, *[chunk] * 100, b"0\r\n\r\n", GET % 2)
    assert [(status, len(body)) for status, body in client.replies] == [(200, 13 + 0x100000 // 256 * 100), (200, 14)]


# --- an upgrade that is not taken up -------------------------------------------------------------------------------

UPGRADE: Final = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"


@pytest.mark.parametrize("size", [1000, 1])
@pytest.mark.parametrize(
    "body", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"]
)
async def test_a_body_is_read_in_spite_of_an_upgrade(client: Client, body: bytes, size: int) -> None:
    hidden = b"POST /hidden HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz"
    await client.send(*pieces(b"POST /1 HTTP/1.1\r\n" + UPGRADE + body + hidden, size))
    assert client.replies == [(200, b"/1 4 headers, abc")]
    assert client.wire.closed
    assert b"connection: close\r\n" in client.wire.written


async def test_without_a_body_an_upgrade_is_passed_over(client: Client) -> None:
    request = b"GET /1 HTTP/1.1\r\n" + UPGRADE + b"\r\n"
    await client.send(request + request, request, GET % 2)
    assert [body[:2] for _, body in client.replies] == [b"/1", b"/1", b"/1", b"/2"]
    assert not client.wire.closed


async def test_a_body_that_is_not_there_yet_is_waited_for(listener: Listening, client: Client) -> None:
    await client.send(b"POST /1 HTTP/1.1\r\nContent-Length: 3\r\n" + UPGRADE + b"\r\n")
    assert client.replies == []
    listener.look(0)
    listener.look(LIMITS.body)
    assert client.refusal == (408, "request-timeout")


# --- the order of replies ------------------------------------------------------------------------------------------


async def test_a_request_is_answered_before_what_follows_it_is_refused(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send(GET % 1, b"\x00nonsense", GET % 2)
    assert client.replies == []
    listener.app.open.set()
    await settle()
    assert client.replies == [(200, b"/1 1 headers, ")]
    assert client.wire.closed
    assert not client.wire.aborted


async def test_what_follows_a_refused_request_is_not_even_parsed(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send(GET % 1, b"GET /2 HTTP/1.1\r\na: " + b"x" * MAX_HEAD)
    client.connection.parser = cast(Any, None)
    await client.send(b"x" * MAX_HEAD, GET % 2)
    listener.app.open.set()
    await settle()
    assert client.replies == [(200, b"/1 1 headers, ")]
    assert client.wire.closed
    assert listener.app.started == 1


async def test_no_refusal_passes_for_the_reply_to_an_earlier_request(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send(GET % 1, CHUNKED + b"1;", b"x" * (MAX_HEAD + 1))
    assert client.wire.aborted
    assert client.replies == []


async def test_requests_sent_ahead_are_answered_in_order_up_to_a_number(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send(b"".join(GET % number for number in range(200)))
    assert listener.app.started == 1
    listener.app.open.set()
    for _ in range(MAX_AHEAD):
        await settle()
    assert client.replies == [(200, b"/%d 1 headers, " % number) for number in range(MAX_AHEAD + 1)]
    assert client.wire.closed
    assert not client.wire.aborted


async def test_no_more_is_read_while_a_request_waits_for_its_turn(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send(GET % 1, b"GET /early HTTP/1.1\r\n\r\n")
    assert client.wire.reads == ["paused"]
    listener.app.open.set()
    await settle()
    assert client.wire.reads == ["paused", "resumed"]
    assert [body[:2] for _, body in client.replies] == [b"/1", b"ea"]


async def test_a_request_that_comes_during_the_shutdown_is_not_begun(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send(GET % 1)
    client.connection.shutdown()
    await client.send(GET % 2)
    listener.app.open.set()
    await settle()
    assert [body[:2] for _, body in client.replies] == [b"/1"]
    assert listener.app.started == 1


async def test_nothing_is_written_to_a_client_that_has_gone(
    listener: Listening, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    listener.app.open.clear()
    await client.send((GET % 1) * 3)
    client.go()
    listener.app.open.set()
    await settle()
    assert client.replies == []
    assert not caplog.records


# --- slow clients --------------------------------------------------------------------------------------------------


async def test_who_sends_nothing_is_hung_up_on(listener: Listening, client: Client) -> None:
    with capture_logs() as lines:
        listener.look(LIMITS.head - 1)
        assert not client.wire.closed
        listener.look(LIMITS.head + 1)
    (line,) = lines
    assert (line["event"], line["slow"], line["to_make_room"]) == ("connections_closed", 1, 0)
    assert client.wire.aborted
    assert client.replies == []


async def test_a_head_that_trickles_in_has_a_deadline(listener: Listening, client: Client) -> None:
    for second, byte in enumerate((GET % 1)[:9]):
        await client.send(bytes([byte]))
        listener.look(second)
    assert not client.wire.closed
    listener.look(LIMITS.head + 1)
    assert client.refusal == (408, "request-timeout")
    assert listener.app.started == 0


@pytest.mark.parametrize("start", [b"\r\n", b"GET /2"])
async def test_so_has_the_next_head(listener: Listening, client: Client, start: bytes) -> None:
    await client.send(GET % 1, start)
    listener.look(50)
    listener.look(50 + LIMITS.head - 1)
    assert not client.wire.closed
    listener.look(50 + LIMITS.head)
    assert [status for status, _ in client.replies] == [200, 408]
    assert client.wire.closed


async def test_a_body_that_trickles_in_has_a_deadline(listener: Listening, client: Client) -> None:
    await client.send(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
    for second in range(50):
        await client.send(b"x")
        listener.look(second)
    assert not client.wire.closed
    listener.look(LIMITS.body)
    assert client.refusal == (408, "request-timeout")
    await settle()
    assert listener.app.gone == 1


async def test_a_body_that_nobody_wants_any_more_has_one_too(listener: Listening, client: Client) -> None:
    await client.send(b"POST /early HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
    for second in range(50):
        await client.send(b"x")
        listener.look(second)
    assert not client.wire.closed
    listener.look(LIMITS.body)
    assert client.wire.aborted
    assert client.replies == [(200, b"early")]


async def test_one_body_after_the_other_is_not_one_slow_body(listener: Listening, client: Client) -> None:
    for number in range(5):
        await client.send(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nx")
        listener.look(number * LIMITS.body)
        listener.look((number + 0.9) * LIMITS.body)
        await client.send(b"x")
    assert [status for status, _ in client.replies] == [200] * 5
    assert not client.wire.closed


async def test_a_reply_that_is_not_read_has_a_deadline(listener: Listening, client: Client) -> None:
    client.wire.unread = 1
    await client.send(GET % 1)
    listener.look(0)
    listener.look(LIMITS.reply - 1)
    assert not client.wire.closed
    listener.look(LIMITS.reply)
    assert client.wire.aborted


async def test_a_refusal_is_sent_once(listener: Listening, client: Client) -> None:
    await client.send(b"GET /")
    for second in (0, LIMITS.head, 2 * LIMITS.head, 3 * LIMITS.head):
        listener.look(second)
    assert client.refusal == (408, "request-timeout")


async def test_a_refusal_that_is_not_read_has_one_too(listener: Listening, client: Client) -> None:
    client.wire.unread = 1
    await client.send(b"\x00")
    assert client.wire.closed
    listener.look(0)
    listener.look(LIMITS.reply)
    assert client.wire.aborted


@pytest.mark.parametrize("ahead", [b"", GET % 2, CHUNKED, b"GET /2"])
async def test_who_waits_for_us_is_not_slow(listener: Listening, client: Client, ahead: bytes) -> None:
    listener.app.open.clear()
    await client.send((GET % 1) + ahead)
    for second in range(0, 10_000, 5):
        listener.look(second)
    assert not client.wire.closed
    listener.app.open.set()
    await settle()
    assert client.replies[0] == (200, b"/1 1 headers, ")


@pytest.mark.parametrize("request_", [[GET % 1], [CHUNKED, b"1\r\na\r\n", b"0\r\n\r\n"]], ids=["get", "post"])
async def test_an_idle_connection_is_kept_for_longer(
    listener: Listening, client: Client, request_: list[bytes]
) -> None:
    with capture_logs() as lines:
        for start in (0, 1000):
            await client.send(*request_)
            listener.look(start)
            listener.look(start + LIMITS.idle - 1)
            assert not client.wire.closed
        listener.look(1000 + LIMITS.idle)
    assert client.wire.aborted
    assert lines == []
    assert [status for status, _ in client.replies] == [200, 200]


# --- many clients --------------------------------------------------------------------------------------------------


def closed(clients: Iterable[Client]) -> list[bool]:
    return [client.wire.closed for client in clients]


async def test_a_newcomer_takes_the_place_of_who_waits_longest(listener: Listening) -> None:
    listener.limited(Limits(idle=75, head=10, body=60, reply=30, connections=3))
    served, older, newer = [listener.client() for _ in range(3)]
    await served.send(GET % 1)
    newcomer = listener.client()
    assert closed([served, older, newer, newcomer]) == [False, True, False, False]
    older.connection.connection_lost(None)
    another = listener.client()
    newer.connection.connection_lost(None)
    assert closed([served, newer, newcomer, another]) == [False, True, False, False]
    await newcomer.send(GET % 2)
    await another.send(GET % 3)
    assert closed([served, newcomer, another]) == [False] * 3
    third = listener.client()
    assert closed([served, newcomer, another, third]) == [True, False, False, False]


async def test_room_is_made_for_several_at_once(listener: Listening) -> None:
    number = 3 * EVICTED_SHARE
    listener.limited(Limits(idle=75, head=10, body=60, reply=30, connections=number))
    clients = [listener.client() for _ in range(number)]
    newcomers = [listener.client() for _ in range(3)]
    assert closed(clients) == [True] * 3 + [False] * (number - 3)
    assert closed(newcomers) == [False] * 3
    newcomers.append(listener.client())
    assert sum(closed(clients)) == 6


async def test_who_is_being_served_is_not_closed_for_a_newcomer(listener: Listening) -> None:
    listener.limited(Limits(idle=75, head=10, body=60, reply=30, connections=3))
    listener.app.open.clear()
    clients = [listener.client() for _ in range(2)]
    for client in clients:
        await client.send(GET % 1)
    reading = listener.client()
    reading.wire.unread = 1
    newcomer = listener.client()
    assert newcomer.refusal == (503, "too-many-connections")
    assert b"retry-after: 1\r\n" in newcomer.wire.written
    listener.app.open.set()
    await settle()
    assert [client.replies for client in clients] == [[(200, b"/1 1 headers, ")]] * 2
    assert not reading.wire.closed

"""One HTTP connection: what it takes, and in which order it answers."""

from __future__ import annotations

from typing import Any, Final, cast

import pytest

from queuey.server.http.connections import MAX_AHEAD, MAX_HEAD, MAX_HEADERS
from tests.support.wire import CHUNKED, GET, LIMITS, Client, Listening, settle


def head(size: int, line: int = 10_000) -> bytes:
    """The head of a GET, of exactly so many bytes by our count: the path, and each header with its 4 of punctuation."""
    headers = b""
    size -= len(b"/1") + len(b"Host") + 4
    while size:
        taken = min(size, line) if size - line > 10 or size <= line else size - line
        headers += b"a: " + b"x" * (taken - 5) + b"\r\n"
        size -= taken
    return b"GET /1 HTTP/1.1\r\nHost:\r\n" + headers + b"\r\n"


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
    await client.send(b"GET /1 HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * (MAX_HEADERS - 1) + b"\r\n")
    assert client.replies == [(200, b"/1 %d headers, " % MAX_HEADERS)]


async def test_a_large_body_in_one_piece_with_its_head_is_no_large_head(client: Client) -> None:
    body = b"x" * (3 * MAX_HEAD)
    await client.send(b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert client.replies == [(200, b"/1 2 headers, " + body)]


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


def with_host(*lines: bytes, version: bytes = b"1.1") -> bytes:
    return b"GET /1 HTTP/" + version + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"a: b"],
        [b"Host: x", b"Host: x"],
        [b"Host: x", b"host: y"],
        [b"Host: a b"],
        [b"Host: a/b"],
        [b"Host: user@x"],
        [b"Host: x:port"],
        [b"Host: [::1"],
        [b"Host: \xc3\xa4"],
    ],
    ids=repr,
)
async def test_a_request_names_one_valid_host(listener: Listening, client: Client, lines: list[bytes]) -> None:
    await client.send(with_host(*lines))
    assert client.refusal == (400, "malformed")
    assert b"Host" in client.replies[0][1], "it says what to change"
    assert listener.app.started == 0


@pytest.mark.parametrize("host", [b"", b"x", b"x:", b"x:80", b"127.0.0.1:8000", b"[::1]:8000", b"a_b.example.", b"*"])
async def test_hosts_that_are_taken(client: Client, host: bytes) -> None:
    await client.send(with_host(b"Host: " + host))
    assert [status for status, _ in client.replies] == [200]


@pytest.mark.parametrize(("lines", "status"), [([], 200), ([b"Host: x"], 200), ([b"Host: x", b"Host: x"], 400)])
async def test_an_older_request_may_leave_out_its_host(client: Client, lines: list[bytes], status: int) -> None:
    await client.send(with_host(*lines, version=b"1.0"))
    assert [code for code, _ in client.replies] == [status]


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
    hidden = b"POST /hidden HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz"
    await client.send(*pieces(b"POST /1 HTTP/1.1\r\nHost: x\r\n" + UPGRADE + body + hidden, size))
    assert client.replies == [(200, b"/1 5 headers, abc")]
    assert client.wire.closed
    assert b"connection: close\r\n" in client.wire.written


async def test_without_a_body_an_upgrade_is_passed_over(client: Client) -> None:
    request = b"GET /1 HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n"
    await client.send(request + request, request, GET % 2)
    assert [body[:2] for _, body in client.replies] == [b"/1", b"/1", b"/1", b"/2"]
    assert not client.wire.closed


async def test_a_body_that_is_not_there_yet_is_waited_for(listener: Listening, client: Client) -> None:
    await client.send(b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n" + UPGRADE + b"\r\n")
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
    await client.send(GET % 1, b"GET /early HTTP/1.1\r\nHost: x\r\n\r\n")
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

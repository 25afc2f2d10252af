"""One HTTP connection: when it ends, and who makes room for whom."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from structlog.testing import capture_logs

from queuey.server.http.connections import EVICTED_SHARE, Limits
from tests.support.wire import CHUNKED, GET, LIMITS, Client, Listening, settle

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
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    for second in range(50):
        await client.send(b"x")
        listener.look(second)
    assert not client.wire.closed
    listener.look(LIMITS.body)
    assert client.refusal == (408, "request-timeout")
    await settle()
    assert listener.app.gone == 1


async def test_a_body_that_nobody_wants_any_more_has_one_too(listener: Listening, client: Client) -> None:
    await client.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    for second in range(50):
        await client.send(b"x")
        listener.look(second)
    assert not client.wire.closed
    listener.look(LIMITS.body)
    assert client.wire.aborted
    assert client.replies == [(200, b"early")]


async def test_one_body_after_the_other_is_not_one_slow_body(listener: Listening, client: Client) -> None:
    for number in range(5):
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx")
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

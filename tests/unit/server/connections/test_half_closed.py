"""One HTTP connection whose client has closed its sending side: it gets the replies that are due, then the end."""

from __future__ import annotations

import pytest

from tests.support.wire import CHUNKED, GET, Client, Listening, settle

POST = b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
WATCH = b"GET /watch HTTP/1.1\r\nHost: x\r\n\r\n"
"""A request whose endpoint waits until the client has disconnected."""


def paths(client: Client) -> list[bytes]:
    return [body.split()[0] for _, body in client.replies]


async def test_a_reply_that_is_due_is_written_before_the_end(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send(POST % 1)
    assert client.end()
    assert client.replies == []
    listener.app.open.set()
    await settle()
    assert client.replies == [(200, b"/1 2 headers, abc")]
    assert client.wire.closed
    assert not client.wire.aborted
    assert b"connection: close\r\n" in client.wire.written


async def test_so_is_one_whose_request_was_not_even_begun(listener: Listening, client: Client) -> None:
    client.connection.data_received(POST % 1)
    assert client.end()
    await settle()
    assert client.replies == [(200, b"/1 2 headers, abc")]
    assert client.wire.closed


async def test_requests_that_were_sent_ahead_are_answered_too(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send((POST % 1) + (GET % 2), POST % 3)
    for _ in range(3):  # a transport says it once more whenever reading is resumed
        assert client.end()
    listener.app.open.set()
    await settle()
    assert paths(client) == [b"/1", b"/2", b"/3"]
    assert client.wire.written.count(b"connection: close\r\n") == 1
    assert client.wire.closed


@pytest.mark.parametrize("rest", [b"\r\n", b"GET /2", GET[:-2] % 2, CHUNKED, CHUNKED + b"3\r\na", POST[:-1] % 2])
async def test_a_request_that_came_in_part_is_dropped(listener: Listening, client: Client, rest: bytes) -> None:
    listener.app.open.clear()
    await client.send((POST % 1) + rest)
    assert client.end()
    listener.app.open.set()
    await settle()
    assert client.replies == [(200, b"/1 2 headers, abc")]
    assert client.wire.closed
    assert (listener.app.started, listener.app.gone) == (1, 0)


@pytest.mark.parametrize("data", [b"", b"\r\n", b"GET /2", CHUNKED, CHUNKED + b"3\r\nabc", POST[:-1] % 1])
async def test_the_end_in_the_middle_of_a_request_closes_at_once(client: Client, data: bytes) -> None:
    if data:
        await client.send(data)
    assert not client.end()
    await settle()
    assert client.replies == []


async def test_a_connection_without_a_request_under_way_closes_at_once(client: Client) -> None:
    await client.send(GET % 1)
    assert not client.end()
    assert paths(client) == [b"/1"]


async def test_an_answer_that_came_before_the_whole_body_was_the_last(client: Client) -> None:
    await client.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    assert not client.end()
    assert client.replies == [(200, b"early")]


async def test_what_comes_behind_is_not_even_parsed(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send(POST % 1)
    assert client.end()
    await client.send(GET % 2)
    listener.app.open.set()
    await settle()
    assert paths(client) == [b"/1"]


@pytest.mark.parametrize("begun", [True, False])
async def test_who_waits_for_the_client_to_disconnect_is_told(listener: Listening, client: Client, begun: bool) -> None:
    client.connection.data_received(WATCH)
    if begun:
        await settle()
    assert client.end()
    await settle()
    assert listener.app.gone == 1
    assert client.replies == []
    assert client.wire.closed
    assert not client.wire.aborted


async def test_so_is_one_that_was_sent_ahead(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send((POST % 1) + WATCH + (GET % 3))
    assert client.end()
    listener.app.open.set()
    await settle()
    assert paths(client) == [b"/1"]
    assert listener.app.gone == 1
    assert client.wire.closed


async def test_a_client_that_is_refused_may_close_its_side(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send(GET % 1, b"\x00nonsense")
    assert client.end()
    listener.app.open.set()
    await settle()
    assert paths(client) == [b"/1"]
    assert client.wire.closed


async def test_after_a_refusal_nothing_is_due(client: Client) -> None:
    await client.send(b"\x00nonsense")
    assert not client.end()
    assert client.refusal == (400, "malformed")


async def test_a_connection_that_is_shut_down_answers_too(listener: Listening, client: Client) -> None:
    listener.app.open.clear()
    await client.send(POST % 1)
    client.connection.shutdown()
    assert client.end()
    listener.app.open.set()
    await settle()
    assert paths(client) == [b"/1"]
    assert client.wire.closed


async def test_nothing_is_written_to_a_client_that_is_lost_after_all(
    listener: Listening, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    listener.app.open.clear()
    await client.send((GET % 1) * 3)
    assert client.end()
    client.go()
    listener.app.open.set()
    await settle()
    assert client.replies == []
    assert not caplog.records

"""The link: one connection for all calls. Who gets which answer, and what becomes of those that wait when it breaks."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest
import uvloop
from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from queuey.store.connections.pipelined import PipelinedConnection, connect
from tests.support.store import Server
from tests.support.stores import StartServer


@pytest.fixture
def own_server(start_server: StartServer) -> Server:
    """One that may be stopped."""
    return start_server()


@pytest.fixture
async def link(own_server: Server) -> AsyncIterator[PipelinedConnection]:
    client = connect(own_server.url, timeout=10.0)
    yield client.link
    await client.aclose()


async def stat(link: PipelinedConnection, name: str) -> int:
    text = (await link.call("INFO", "everything")).decode()
    return next(int(line.partition(":")[2]) for line in text.splitlines() if line.startswith(f"{name}:"))


async def test_each_call_gets_its_own_answer(link: PipelinedConnection) -> None:
    before = await stat(link, "total_connections_received")
    answers = await asyncio.gather(*(link.call("ECHO", f"call {number}") for number in range(1000)))
    assert answers == [f"call {number}".encode() for number in range(1000)]
    assert await stat(link, "total_connections_received") == before


def test_what_is_called_in_one_pass_arrives_together(own_server: Server) -> None:
    """On the event loop of a server, which writes once a pass."""

    async def reads() -> int:
        client = connect(own_server.url, timeout=10.0)
        before = await stat(client.link, "total_reads_processed")
        await asyncio.gather(*(client.link.call("PING") for _ in range(100)))
        after = await stat(client.link, "total_reads_processed")
        await client.aclose()
        return after - before

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(reads()) == 2, "the pings, and the second question"


async def test_an_error_goes_to_the_call_that_made_it(link: PipelinedConnection) -> None:
    calls = (link.call("ECHO", "a"), link.call("LPOP"), link.call("ECHO", "b"))
    answers = list(await asyncio.gather(*calls, return_exceptions=True))
    assert answers[::2] == [b"a", b"b"]
    assert isinstance(answers[1], redis_errors.ResponseError)


async def test_whoever_stops_waiting_disturbs_no_other(link: PipelinedConnection) -> None:
    before = await stat(link, "total_connections_received")
    calls = [asyncio.create_task(link.call("ECHO", f"call {number}")) for number in range(9)]
    await asyncio.sleep(0)  # now all have been written
    for call in calls[::2]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[1::2] == [f"call {number}".encode() for number in range(1, 9, 2)]
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
    assert await link.call("ECHO", "after") == b"after"
    assert await stat(link, "total_connections_received") == before


async def test_a_lost_connection_fails_what_waits_and_is_made_anew(link: PipelinedConnection) -> None:
    waits = [asyncio.create_task(link.call("BLPOP", "nothing", 0)) for _ in range(3)]
    helper = connect_again(link)
    while not await stat(helper, "blocked_clients"):
        pass
    await helper.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    for answer in await asyncio.gather(*waits, return_exceptions=True):
        assert isinstance(answer, redis_errors.ConnectionError)
        assert not isinstance(answer, redis_errors.TimeoutError)
    assert await link.call("ECHO", "again") == b"again"
    await helper.close()


def connect_again(link: PipelinedConnection) -> PipelinedConnection:
    return PipelinedConnection(link._pool, 10.0)


async def test_a_reply_that_does_not_come_gives_the_connection_up(own_server: Server) -> None:
    client = connect(own_server.url, timeout=0.2)
    await client.link.call("PING")
    own_server.process.send_signal(signal.SIGSTOP)
    answers = await asyncio.gather(*(client.link.call("PING") for _ in range(3)), return_exceptions=True)
    assert isinstance(answers[0], redis_errors.TimeoutError)
    assert all(isinstance(answer, redis_errors.ConnectionError) for answer in answers[1:])
    own_server.process.send_signal(signal.SIGCONT)
    assert await client.link.call("ECHO", "again") == b"again"
    await client.aclose()


def test_a_blocked_event_loop_is_no_silent_store(own_server: Server) -> None:
    """What a call sends in the pass in which a handler blocks goes out when its time is over."""

    async def block_after_a_call() -> None:
        client = connect(own_server.url, timeout=0.2)
        before = await stat(client.link, "total_connections_received")
        call = asyncio.create_task(client.link.call("ECHO", "here"))
        await asyncio.sleep(0)
        session = client.link._session
        assert session is not None
        assert session._unsent
        overdue = time.monotonic() + 0.5
        while time.monotonic() < overdue:
            pass
        assert await call == b"here"
        assert await stat(client.link, "total_connections_received") == before
        await client.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(block_after_a_call())


async def test_the_one_timer_spares_a_call_that_came_later(link: PipelinedConnection) -> None:
    """It was set for a call that has been answered since."""
    await link.call("PING")
    wait = asyncio.create_task(link.call("BLPOP", "list", 0))
    await asyncio.sleep(0)
    session = link._session
    assert session is not None
    session._look_at_oldest()
    helper = connect_again(link)
    await helper.call("RPUSH", "list", "entry")
    await helper.close()
    assert await wait == [b"list", b"entry"]
    assert session._alarm is not None


async def test_one_failed_attempt_to_connect_is_told_to_all(own_server: Server) -> None:
    own_server.process.kill()
    own_server.process.wait()
    client = connect(own_server.url, timeout=5.0)
    answers = await asyncio.gather(*(client.link.call("PING") for _ in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {redis_errors.ConnectionError}
    assert all(" connecting to " in str(answer) for answer in answers), "so that it is known not to have been sent"
    await client.aclose()


async def test_closing_fails_what_waits(link: PipelinedConnection) -> None:
    await link.call("PING")
    wait = asyncio.create_task(link.call("BLPOP", "nothing", 0))
    await asyncio.sleep(0)
    await link.close()
    with pytest.raises(redis_errors.ConnectionError):
        await wait


async def test_closing_while_it_connects_fails_what_waits(link: PipelinedConnection) -> None:
    """As for any lost connection: the caller is not cancelled, so it may not look as if it were."""
    for passes in range(2):  # the task that connects has not begun yet, or is at work
        connection = connect_again(link)
        wait = asyncio.create_task(connection.call("PING"))
        for _ in range(1 + passes):
            await asyncio.sleep(0)
        assert connection._opening is not None
        await connection.close()
        with pytest.raises(redis_errors.ConnectionError, match="was lost"):
            await wait


async def test_a_closed_connection_stays_closed(link: PipelinedConnection) -> None:
    """A call that is sent again after an error would make a connection that nobody closes."""
    before = await stat(link, "total_connections_received")
    closed = connect_again(link)
    await closed.call("PING")
    await closed.close()
    for call in (closed.call("PING"), closed.calls(("PING",), ("PING",))):
        with pytest.raises(redis_errors.ConnectionError, match="was lost"):
            await call
    with pytest.raises(redis_errors.ConnectionError, match="was lost"):
        closed.tell(("PING",), print)
    assert await stat(link, "total_connections_received") == before + 1


async def test_closing_before_it_reads_closes_the_connection(
    link: PipelinedConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is cancelled before its first step runs none of its code, so nothing in it can close anything."""
    made: list[AbstractConnection] = []
    connected = asyncio.Event()
    make_connection = link._pool.make_connection

    def made_connection() -> AbstractConnection:
        connection: AbstractConnection = make_connection()  # type: ignore[no-untyped-call]
        connect_for_real = connection.connect

        async def connect_and_wake_closer() -> None:
            await connect_for_real()  # type: ignore[no-untyped-call]
            connected.set()

        monkeypatch.setattr(connection, "connect", connect_and_wake_closer)
        made.append(connection)
        return connection

    async def close_then() -> None:
        await connected.wait()
        await link.close()

    monkeypatch.setattr(link._pool, "make_connection", made_connection)
    closing = asyncio.create_task(close_then())
    await asyncio.sleep(0)  # it waits
    with pytest.raises(redis_errors.ConnectionError):
        await link.call("PING")
    await closing
    assert [connection.is_connected for connection in made] == [False]


async def test_a_wrong_password_is_an_error_of_every_call(link: PipelinedConnection, own_server: Server) -> None:
    await link.call("CONFIG", "SET", "requirepass", "right")
    client = connect(own_server.url.replace("unix://", "unix://:wrong@"), timeout=5.0)
    for _ in range(2):
        with pytest.raises(redis_errors.ConnectionError, match="invalid username-password"):
            await client.link.call("PING")
    await client.aclose()

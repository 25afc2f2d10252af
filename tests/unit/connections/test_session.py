"""The session of a connection, on a store that answers with the bytes that a test says."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, cast

import pytest
import uvloop
from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from queuey.store.connections.pipelined import PipelinedConnection, connect
from queuey.store.connections.session import CLOSED_BY_STORE, GONE
from tests.support.connections.scripted_store import ScriptedStore, scripted_store

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}

Test = Callable[..., Coroutine[Any, Any, None]]


def on_both_loops(test: Test) -> Callable[..., None]:
    """Run a test on asyncio's loop and on uvloop: they read, write and close in ways of their own."""

    @pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
    @wraps(test)
    def run(loop: Callable[[], asyncio.AbstractEventLoop], **named: Any) -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(test(**named))

    parameters = [Parameter("loop", Parameter.POSITIONAL_OR_KEYWORD), *signature(test).parameters.values()]
    run.__signature__ = Signature(parameters)
    return cast(Callable[..., None], run)


def pong(_: list[bytes]) -> bytes:
    return b"+PONG\r\n"


def silence(_: list[bytes]) -> bytes:
    return b""


def link_to(store: ScriptedStore, timeout: float = 10.0) -> PipelinedConnection:
    return connect(store.url, timeout=timeout).link


async def outcome(reply: Any) -> Any:
    """The reply, or the error's type, text and code."""
    try:
        return await reply
    except redis_errors.RedisError as error:
        return type(error), str(error), getattr(error, "status_code", None)


# --- replies -----------------------------------------------------------------------------------------------------

REPLIES = (
    b"+OK\r\n", b"$5\r\nbytes\r\n", b"$0\r\n\r\n", b"$-1\r\n", b"*-1\r\n", b"_\r\n", b":42\r\n", b":-1\r\n",
    b",1.5\r\n", b"#t\r\n", b"*0\r\n", b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n", b"%1\r\n$1\r\nk\r\n$1\r\nv\r\n",
    b"~2\r\n:1\r\n:2\r\n", b"=7\r\ntxt:abc\r\n", b"$3\r\n\xff\xfe\xfd\r\n",
    b"-ERR broken\r\n", b"-NOSCRIPT No matching script.\r\n", b"-OOM command not allowed\r\n",
    b"-NOPERM User u has no permissions\r\n", b"-MOVED 1 a:1\r\n", b"-CLUSTERDOWN down\r\n", b"-READONLY replica\r\n",
    b"-BUSY running\r\n", b"-\xff\xfe\r\n", b"-\r\n",
    b"*2\r\n-ERR inside\r\n:1\r\n", b"*2\r\n:1\r\n-LOADING later\r\n",
    b">2\r\n$3\r\nfoo\r\n$3\r\nbar\r\n+behind a push\r\n",
)  # fmt: skip
"""Each is an answer, after which the connection is used on."""
ENDS = (
    b"-LOADING Redis is loading\r\n", b"-NOAUTH Authentication required.\r\n", b"-WRONGPASS invalid\r\n",
    b"-ERR max number of clients reached\r\n", b"*2\r\n-LOADING later\r\n:1\r\n", b"?what\r\n", b"*1\r\n?what\r\n",
)  # fmt: skip
"""After each of these redis-py gives the connection up."""


async def as_redis_py_does(store: ScriptedStore) -> Any:
    """What a connection of redis-py makes of the reply."""
    connection = link_to(store)._pool.make_connection()  # type: ignore[no-untyped-call]
    await connection.connect()
    await connection.send_command("GET", "it")
    try:
        return await outcome(connection.read_response())
    finally:
        await connection.disconnect()


def comparable(reply: Any) -> Any:
    """Errors within a reply are equal if their types and texts are."""
    if isinstance(reply, list):
        return [comparable(part) for part in reply]
    return (type(reply), str(reply)) if isinstance(reply, Exception) else reply


@on_both_loops
@pytest.mark.parametrize("reply", REPLIES + ENDS, ids=repr)
async def test_a_reply_is_what_redis_py_makes_of_it(reply: bytes) -> None:
    async with scripted_store(lambda _: reply) as store:
        expected = await as_redis_py_does(store)
        link = link_to(store)
        found = await outcome(link.call("GET", "it"))
        assert comparable(found) == comparable(expected)
        assert type(found) is type(expected)
        store.respond = pong
        assert await link.call("PING") == b"PONG"
        assert len(store.clients) == (2 if reply in REPLIES else 3)
        await link.close()


@on_both_loops
async def test_a_reply_in_pieces_is_put_together() -> None:
    async with scripted_store(silence) as store:
        link = link_to(store)
        calls = [asyncio.create_task(link.call("GET", name)) for name in "abc"]
        await store.received(3)
        for byte in b"$3\r\none\r\n-ERR two\r\n:3\r\n":
            store.client.transport.write(bytes([byte]))
            await asyncio.sleep(0)
        first, second, third = await asyncio.gather(*calls, return_exceptions=True)
        assert (first, str(second), third) == (b"one", "two", 3)
        await link.close()


@on_both_loops
async def test_a_reply_that_belongs_to_no_command_ends_the_connection() -> None:
    async with scripted_store(lambda _: b"+PONG\r\n+PONG\r\n") as store:
        link = link_to(store)
        assert await link.call("PING") == b"PONG"
        await store.client.closed.wait()
        store.respond = pong
        assert await link.call("PING") == b"PONG"
        assert len(store.clients) == 2
        await link.close()


# --- taken over from redis-py ------------------------------------------------------------------------------------


@on_both_loops
async def test_bytes_that_came_with_the_login_are_not_lost() -> None:
    async with scripted_store(lambda _: b"NG\r\n") as store:
        store.after_login = b">1\r\n+push\r\n+PO"
        link = link_to(store)
        assert await link.call("PING") == b"PONG"
        await link.close()


def after_connecting(link: PipelinedConnection, do: Callable[[Any], object]) -> None:
    """Do something to redis-py's connection between its login and the session."""
    make = link._pool.make_connection

    def make_connection() -> AbstractConnection:
        connection: Any = make()  # type: ignore[no-untyped-call]
        connect_for_real = connection.connect

        async def connect_then() -> None:
            await connect_for_real()
            do(connection)

        connection.connect = connect_then
        return cast(AbstractConnection, connection)

    link._pool.make_connection = make_connection  # type: ignore[method-assign]


@on_both_loops
async def test_bytes_that_redis_py_had_read_and_not_parsed_are_not_lost() -> None:
    async with scripted_store(lambda _: b"NG\r\n") as store:
        link = link_to(store)
        after_connecting(link, lambda connection: connection._reader.feed_data(b"+PO"))
        assert await link.call("PING") == b"PONG"
        await link.close()


LOSSES: dict[str, Callable[[Any], object]] = {
    "end of file": lambda connection: connection._reader.feed_eof(),
    "error": lambda connection: connection._reader.set_exception(ConnectionResetError(104, "reset")),
    "closing": lambda connection: connection._writer.transport.abort(),
}


@on_both_loops
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
async def test_a_connection_that_was_lost_at_once_is_made_again(loss: Callable[[Any], object]) -> None:
    losses = [loss]
    async with scripted_store(pong) as store:
        link = link_to(store)
        after_connecting(link, lambda connection: losses and losses.pop()(connection))
        with pytest.raises(redis_errors.ConnectionError):
            await link.call("PING")
        assert await link.call("PING") == b"PONG"
        assert len(store.clients) == 2
        await link.close()


# --- lost and closed ---------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_store_that_closes_fails_what_waits_and_is_connected_again() -> None:
    async with scripted_store(silence) as store:
        link = link_to(store)
        calls = [asyncio.create_task(link.call("GET", name)) for name in "abc"]
        await store.received(3)
        store.client.transport.close()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(str(error) for error in errors) == [CLOSED_BY_STORE, GONE, GONE]
        store.respond = pong
        assert await link.call("PING") == b"PONG"
        await link.close()


@on_both_loops
async def test_closing_leaves_no_socket_open_and_nothing_to_collect() -> None:
    """The tests turn a ResourceWarning into an error."""
    async with scripted_store(pong) as store:
        link = link_to(store)
        await link.call("PING")
        session = link._session
        assert session is not None
        socket = session._transport.get_extra_info("socket")
        assert socket.fileno() > 0
        await link.close()
        assert session.closed.is_set()
        await store.client.closed.wait()
        assert not session._connection.is_connected
        del link, session, socket
        gc.collect()


@on_both_loops
async def test_closing_twice_or_unopened_does_nothing() -> None:
    async with scripted_store(pong) as store:
        await link_to(store).close()
        link = link_to(store)
        await link.call("PING")
        await link.close()
        await link.close()
        await store.client.closed.wait()


# --- writing -----------------------------------------------------------------------------------------------------


@on_both_loops
async def test_while_the_store_does_not_read_what_is_sent_is_bounded_and_goes_out_later() -> None:
    async with scripted_store(lambda command: b"$4\r\n%s\r\n" % command[1][:4]) as store:
        link = link_to(store)
        await link.call("GET", "warm")
        session = link._session
        assert session is not None
        store.client.transport.pause_reading()
        calls = []
        for number in range(100):  # each in a pass of its own
            calls.append(asyncio.create_task(link.call("GET", f"{number:04}" + "x" * 100_000)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert session._paused
        assert session._transport.get_write_buffer_size() < 1_000_000
        store.client.transport.resume_reading()
        assert await asyncio.gather(*calls) == [b"%04d" % number for number in range(100)]
        assert session._transport.get_write_buffer_size() == 0
        await link.close()


@on_both_loops
async def test_a_store_that_never_reads_again_fails_what_waits_in_time() -> None:
    async with scripted_store(pong) as store:
        link = link_to(store, timeout=0.2)
        await link.call("PING")
        store.client.transport.pause_reading()
        calls = [asyncio.create_task(link.call("GET", "x" * 1_000_000)) for _ in range(5)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in errors] == [redis_errors.TimeoutError, *[redis_errors.ConnectionError] * 4]
        await link.close()


@on_both_loops
async def test_a_command_that_cannot_be_packed_harms_no_other() -> None:
    async with scripted_store(pong) as store:
        link = link_to(store)
        bad = link.call("PING", cast(Any, object()))
        answers = await asyncio.gather(link.call("PING"), bad, link.call("PING"), return_exceptions=True)
        assert [answers[0], type(answers[1]), answers[2]] == [b"PONG", TypeError, b"PONG"]
        await link.close()


# --- callbacks ---------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_callback_gets_the_reply_or_the_error() -> None:
    async with scripted_store(lambda command: b"-ERR no\r\n" if command[0] == b"BAD" else b"+PONG\r\n") as store:
        link = link_to(store)
        with pytest.raises(redis_errors.ConnectionError, match=GONE):
            link.tell(("PING",), lambda reply, error: None)
        await link.call("PING")
        found: list[tuple[Any, str]] = []
        for command in ("PING", "BAD", "PING"):
            link.tell((command,), lambda reply, error: found.append((reply, str(error))))
        await link.call("PING")
        assert found == [(b"PONG", "None"), (None, "no"), (b"PONG", "None")]
        link.tell(("PING",), lambda reply, error: found.append((reply, str(error))))
        await link.close()
        assert found[3:] == [(None, GONE)]


@on_both_loops
async def test_a_callback_that_fails_keeps_no_other_from_its_reply() -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
    broken = ValueError("of the test")

    def answer(reply: Any, error: Exception | None) -> None:
        raise broken

    async with scripted_store(pong) as store:
        link = link_to(store)
        await link.call("PING")
        link.tell(("PING",), answer)
        assert await link.call("PING") == b"PONG"
        assert faults == [broken]
        assert len(store.clients) == 1
        await link.close()

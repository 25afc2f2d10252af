"""The parts of redis-py that are private and used here all the same, since nothing public does it.

queuey/store/connections/session.py takes the transport of a connection over once redis-py has logged in.
"""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

from tests.support.connections.scripted_store import scripted_store

PACKAGE = Path(__file__).parents[2] / "queuey"
USER = PACKAGE / "store" / "connections" / "session.py"
ADVICE = (
    f"redis-py {redis.__version__} has changed a private part that {USER.name} uses. Adapt {USER.name}, or allow only "
    "older versions in pyproject.toml"
)


def test_redis_py_has_the_private_names() -> None:
    try:
        from redis._parsers.hiredis import NOT_ENOUGH_DATA  # noqa: F401
    except ImportError as error:
        pytest.fail(f"{ADVICE}: {error}")
    for kind in (Connection, SSLConnection, UnixDomainSocketConnection):
        for name in ("_close", "_host_error"):
            method = getattr(kind, name, None)
            assert callable(method), f"{ADVICE}: {kind.__name__} has no method {name}"
            assert not inspect.iscoroutinefunction(method), f"{ADVICE}: {kind.__name__}.{name} is a coroutine"


async def test_a_connection_of_redis_py_has_what_a_session_takes_over() -> None:
    async with scripted_store(lambda _: b"") as store:
        pool: Any = redis.asyncio.ConnectionPool.from_url(store.url)
        connection = pool.make_connection()
        await connection.connect()
        try:
            parts = {
                "_parser._reader": (connection._parser._reader, hiredis.Reader),
                "_writer.transport": (connection._writer.transport, asyncio.Transport),
                "_reader": (connection._reader, asyncio.StreamReader),
                "_host_error()": (connection._host_error(), str),
            }
        except AttributeError as error:
            pytest.fail(f"{ADVICE}: {error}")
        finally:
            await connection.disconnect(nowait=True)
        for name, (part, kind) in parts.items():
            assert isinstance(part, kind), f"{ADVICE}: {name} is {part!r}"


async def test_a_reader_without_a_whole_reply_gives_the_private_mark() -> None:
    from redis._parsers.hiredis import NOT_ENOUGH_DATA

    async with scripted_store(lambda _: b"") as store:
        pool: Any = redis.asyncio.ConnectionPool.from_url(store.url)
        connection = pool.make_connection()
        await connection.connect()
        found = connection._parser._reader.gets()
        connection._close()
        assert found is NOT_ENOUGH_DATA, ADVICE
        assert connection._writer is None, f"{ADVICE}: _close leaves _writer, whose end gives a warning"


def test_no_other_module_imports_private_parts_of_redis_py() -> None:
    users = [path for path in PACKAGE.rglob("*.py") if "redis._" in path.read_text(encoding="utf-8")]
    assert users == [USER]

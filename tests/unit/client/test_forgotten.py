"""A client that nobody closes warns, and its thread ends; a client that was closed, or never used, says nothing."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Callable

import httpx
import pytest

from queuey.client import Client, SyncClient

PATIENCE = 10.0


@pytest.fixture
def collect(recwarn: pytest.WarningsRecorder) -> Callable[[], list[str]]:
    """Collects what nobody refers to, and returns the texts of the ResourceWarnings so far."""
    warnings.simplefilter("always", ResourceWarning)

    def collect() -> list[str]:
        gc.collect()
        return [str(one.message) for one in recwarn if one.category is ResourceWarning]

    return collect


class Done(httpx.AsyncBaseTransport):
    """A transport that answers at once. `closed` is set when it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(204)

    async def aclose(self) -> None:
        self.closed.set()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "queuey-client"]


def test_a_forgotten_sync_client_warns_and_ends_its_thread(collect: Callable[[], list[str]]) -> None:
    transport = Done()
    client = SyncClient("http://me:canary@q.test", transport=transport)
    client.delete("J")
    (thread,) = threads()
    del client
    assert collect() == ["A SyncClient of http://***@q.test was not closed. Use it in `with`, or call its close()."]
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert transport.closed.is_set()


def test_a_forgotten_client_warns(collect: Callable[[], list[str]]) -> None:
    client = Client("http://q.test", transport=Done())
    asyncio.run(client.delete("J"))
    del client
    assert collect() == ["A Client of http://q.test was not closed. Use it in `async with`, or call its close()."]


@pytest.mark.parametrize("kind", [Client, SyncClient])
def test_the_warning_leads_to_the_place_where_the_client_was_made(
    kind: type[Client | SyncClient], recwarn: pytest.WarningsRecorder
) -> None:
    """Python shows the place, with tracemalloc, if it is given the object; from 3.12 on for such an object too."""
    warnings.simplefilter("always", ResourceWarning)
    tracemalloc.start()
    try:
        forget(kind)
        (warning,) = [one for one in recwarn if one.category is ResourceWarning]
        assert isinstance(warning.source, kind)
        made_at = tracemalloc.get_object_traceback(warning.source)
    finally:
        tracemalloc.stop()
    if sys.version_info >= (3, 12):
        assert made_at is not None
        assert made_at[-1].filename == __file__


def forget(kind: type[Client | SyncClient]) -> None:
    client = kind("http://q.test", transport=Done())
    if isinstance(client, Client):
        asyncio.run(client.delete("J"))
    else:
        client.delete("J")
    left = threads()
    del client
    gc.collect()
    for thread in left:
        thread.join(PATIENCE)


def use_sync(client: SyncClient) -> None:
    client.delete("J")
    client.close()


def use_async(client: Client) -> None:
    async def use() -> None:
        async with client:
            await client.delete("J")

    asyncio.run(use())


def refuse(kind: type[Client | SyncClient]) -> None:
    with pytest.raises(ValueError, match="url must be"):
        kind("nowhere")


def make(kind: type[Client | SyncClient]) -> None:
    assert kind().url


QUIET: dict[str, Callable[[], None]] = {
    "closed": lambda: use_sync(SyncClient(transport=Done())),
    "async closed": lambda: use_async(Client(transport=Done())),
    "unused": lambda: make(SyncClient),
    "async unused": lambda: make(Client),
    "refused": lambda: refuse(SyncClient),
    "async refused": lambda: refuse(Client),
}


@pytest.mark.parametrize("name", QUIET)
def test_other_clients_do_not_warn(collect: Callable[[], list[str]], name: str) -> None:
    QUIET[name]()
    assert collect() == []
    assert threads() == []


def test_one_that_is_kept_until_the_end_of_the_program_only_warns() -> None:
    """The interpreter can import nothing by then."""
    program = """
import asyncio, httpx
from queuey.client import Client
transport = httpx.MockTransport(lambda request: httpx.Response(204))
kept = Client("http://me:canary@q.test", transport=transport)
asyncio.run(kept.delete("J"))
"""
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert "A Client of http://***@q.test was not closed" in ended.stderr
    assert "Exception ignored" not in ended.stderr

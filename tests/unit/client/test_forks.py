"""Clients that are made before a fork: the child has a thread and connections of its own, and the parent keeps its."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from queuey.client import Client, ClientError, SyncClient
from queuey.client.sync import _stepping
from tests.unit.client.forking import in_child, local_ports

PATIENCE = 10.0


class Handler(BaseHTTPRequestHandler):
    """Answers DELETE at once, and GET once it may."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_DELETE(self) -> None:
        self.server.ports.append(self.client_address[1])
        self._answer(204, b"")

    def do_GET(self) -> None:
        self.server.asked.release()
        assert self.server.may_answer.acquire(timeout=PATIENCE)
        self._answer(200, json.dumps({"queues": []}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A server that keeps connections. `ports` has the port of each DELETE's connection, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ports: list[int] = []
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Semaphore(0)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_client_that_was_used_works_in_the_child_and_in_the_parent(server: Server) -> None:
    with SyncClient(server.url) as client:
        client.delete("J")
        assert server.ports[0] in local_ports()

        def work() -> set[int]:
            inherited = local_ports()
            client.delete("J")
            client.delete("J")
            client.close()
            return inherited

        assert server.ports[0] not in in_child(work)
        client.delete("J")
    first, child, again, last = server.ports
    assert first == last
    assert child == again != first


def test_a_client_that_was_not_used_has_nothing_to_inherit(server: Server) -> None:
    client = SyncClient(server.url)
    assert "queuey-client" not in {thread.name for thread in threading.enumerate()}
    assert in_child(lambda: client.delete("J")) is None
    assert len(server.ports) == 1
    client.close()


def test_a_call_that_waits_is_answered_to_the_parent_alone(server: Server) -> None:
    answers: list[Any] = []
    with SyncClient(server.url) as client:
        waiting = threading.Thread(target=lambda: answers.append(client.queues()))
        waiting.start()
        assert server.asked.acquire(timeout=PATIENCE)

        def work() -> set[int]:
            client.delete("J")
            return local_ports()

        mine = local_ports()
        theirs = in_child(work)
        server.may_answer.release()
        waiting.join(PATIENCE)
    assert answers == [[]]
    (port,) = mine - theirs
    assert port != server.ports[0], "the child has its own"


def test_an_async_client_works_in_loops_of_both(server: Server) -> None:
    client = Client(server.url)
    with asyncio.Runner() as runner:
        runner.run(client.delete("J"))

        def work() -> set[int]:
            inherited = local_ports()
            asyncio.run(client.delete("J"))
            return inherited

        assert server.ports[0] not in in_child(work)
        runner.run(client.delete("J"))
        runner.run(client.close())
    first, child, last = server.ports
    assert first == last != child


def test_a_child_of_a_child_has_its_own_too(server: Server) -> None:
    with SyncClient(server.url) as client:
        client.delete("J")

        def work() -> None:
            client.delete("J")
            in_child(lambda: client.delete("J"))
            client.delete("J")

        in_child(work)
        client.delete("J")
    parent, child, grandchild, child_again, parent_again = server.ports
    assert (parent, child) == (parent_again, child_again)
    assert len({parent, child, grandchild}) == 3


def test_a_lock_that_another_thread_held_does_not_stop_the_child(server: Server) -> None:
    with SyncClient(server.url) as client:
        client.delete("J")
        with client._lock:
            in_child(lambda: client.delete("J"))


def test_a_client_that_the_child_closes_is_open_in_the_parent(server: Server) -> None:
    with SyncClient(server.url) as client:
        client.delete("J")
        in_child(client.close)
        client.delete("J")
    assert server.ports[0] == server.ports[1]


def test_an_iteration_is_not_continued_in_the_child(server: Server) -> None:
    async def numbers(_: Client) -> AsyncIterator[int]:
        for number in range(9):
            yield number

    with SyncClient(server.url) as client:
        steps = _stepping(numbers)(client)
        assert next(steps) == 0

        def work() -> str:
            with pytest.raises(ClientError, match="Begin it again in the child") as raised:
                next(steps)
            return str(raised.value)

        in_child(work)
        assert [*steps] == list(range(1, 9))


def test_a_transport_of_the_callers_own_is_not_shared(server: Server) -> None:
    client = SyncClient(server.url, transport=httpx.AsyncHTTPTransport())

    def refused() -> None:
        with pytest.raises(ClientError, match="Make the client in the child, or leave out transport="):
            client.delete("J")

    in_child(lambda: client.delete("J"))  # it has no connection yet
    client.delete("J")
    in_child(refused)
    client.delete("J")
    client.close()
    assert server.ports[1] == server.ports[2]


MADE_EARLY: list[SyncClient] = []


def in_pool(number: int) -> int:
    MADE_EARLY[0].delete(f"J{number}")
    return os.getpid()


def test_a_pool_of_forked_processes_uses_a_client_of_the_module(server: Server) -> None:
    with SyncClient(server.url) as client:
        MADE_EARLY[:] = [client]
        client.delete("J")
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pids = pool.map(in_pool, range(8), chunksize=1)
            pool.close()
            pool.join()
        client.delete("J")
    assert os.getpid() not in pids
    assert server.ports[0] == server.ports[-1]
    assert len(set(server.ports[1:-1])) == len(set(pids))

"""The direct path of a real server: on by default, counted in /metrics, and drained as any request."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final

import pytest

from tests.e2e.conftest import Serve
from tests.support.serving import PATIENCE, Serving, eventually

LANES: Final = 8
BODY: Final = b'{"type":"echo","queue":"unserved"}'
REQUEST: Final = (
    b"POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    % (len(BODY), BODY)
)
REPLY: Final = re.compile(
    rb"HTTP/1\.1 200 OK\r\ndate: [^\r]+\r\ncontent-type: application/json\r\ncontent-length: 62\r\n"
    rb"location: /v1/jobs/(\w{28})\r\n(?:connection: close\r\n)?\r\n"
    rb'\{"job_id":"(\w{28})","deduplicated":false\}'
)


def connect(server: Serving) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def exchange(client: socket.socket) -> bytes:
    """Send a request, and read what comes until the reply is whole or the connection ends."""
    received = b""
    with suppress(ConnectionError):
        client.sendall(REQUEST)
        while not received.endswith(b"}") and (part := client.recv(65_536)):
            received += part
    return received


def hits(server: Serving) -> int:
    found = re.search(r"^queuey_http_direct_requests_total (\d+)", server.http.get("/metrics").text, re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.parametrize(("flags", "expected"), [((), 9), (("--direct=yes",), 9), (("--direct=no",), 0)])
def test_it_is_taken_unless_the_setting_says_no(serve: Serve, flags: tuple[str, ...], expected: int) -> None:
    server = serve(*flags)
    with connect(server) as client:
        for _ in range(10):
            reply = REPLY.fullmatch(exchange(client))
            assert reply
            assert reply[1] == reply[2]
            assert server.job(reply[1].decode())["status"] == "queued"
    assert hits(server) == expected


def test_a_server_that_stops_answers_what_it_has_taken(serve: Serve) -> None:
    """Each lane is cut at most once, between two requests, and every job that a client knows of is in the store."""
    server = serve()
    known: list[list[str]] = [[] for _ in range(LANES)]
    pieces: list[bytes] = []

    def lane(client: socket.socket, answered: list[str]) -> Callable[[], None]:
        def run() -> None:
            while reply := exchange(client):
                found = REPLY.fullmatch(reply)
                if found is None:
                    pieces.append(reply)
                    return
                answered.append(found[1].decode())

        return run

    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(LANES)]
        threads = [threading.Thread(target=lane(*pair)) for pair in zip(clients, known, strict=True)]
        for thread in threads:
            thread.start()
        eventually(lambda: all(len(answered) > 20 for answered in known))
        assert server.stop() == 0
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert pieces == []
    again = serve()
    for job_id in (answered[-1] for answered in known):
        assert json.loads(again.http.get(f"/v1/jobs/{job_id}").content)["id"] == job_id

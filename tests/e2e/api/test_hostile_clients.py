"""A real server against clients that send too much, too slowly, or read nothing: they are ended, others are served."""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from itertools import repeat
from pathlib import Path
from typing import Final

import pytest

from tests.support import jobs
from tests.support.serving import PATIENCE, Serving, eventually

KEY: Final = "key-of-the-tests-of-hostile-clients"
CONNECTIONS: Final = 40
BLOCK: Final = b"x" * 65_536
GROWTH: Final = 8_000_000
"""Bytes that the server may grow by while it is sent something endless: some reads of 256 kB, and what lies around."""

GET: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST: Final = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nx-api-key: " + KEY.encode() + b"\r\n"


@pytest.fixture(scope="module", params=["yes", "no"])
def hasty(request: pytest.FixtureRequest) -> Iterator[Serving]:
    """A server that waits for nobody for long, and yet for a client on a busy machine. With the direct path and
    without it."""
    flags = [f"--direct={request.param}"]
    flags += [f"--{name}-timeout=1s" for name in ("request-head", "request-body", "reply")]
    flags += ["--http-connections", str(CONNECTIONS)]
    with tempfile.TemporaryDirectory(prefix="queuey-") as name:
        server = Serving(Path(name, "data"), *flags, app=jobs.PATH, variables={"QUEUEY_API_KEY": KEY}, key=KEY)
        yield server
        server.close()


def connect(server: Serving, buffer: int | None = None) -> socket.socket:
    """`buffer`: bytes that the kernel may take from the server on our behalf."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    client = socket.socket()
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(PATIENCE)
    client.connect((host, int(port)))
    return client


def read_reply(client: socket.socket) -> bytes:
    """The next reply, whole."""
    received = b""
    while not (found := re.search(rb"\r\ncontent-length: (\d+)\r\n(?:.*\r\n)*\r\n", received)):
        received += client.recv(65_536)
    while len(received) < found.end() + int(found[1]):
        received += client.recv(65_536)
    return received


def until_closed(client: socket.socket) -> bytes:
    """What still comes until the server ends the connection."""
    received = b""
    with suppress(ConnectionError):
        while data := client.recv(65_536):
            received += data
    return received


def code(reply: bytes) -> tuple[int, str]:
    """The status, and the problem's code, of a single reply."""
    assert reply.count(b"HTTP/1.1 ") == 1
    found = re.search(rb'"type":"urn:queuey:problem:([a-z-]+)"', reply)
    return int(reply[9:12]), found[1].decode() if found else ""


def send_until_refused(client: socket.socket, blocks: Iterable[bytes], at_most: int = 500_000_000) -> int:
    """Send until the server takes no more. Returns how many bytes it took, with what the kernel has in between."""
    taken = 0
    with suppress(ConnectionError):
        for block in blocks:
            client.sendall(block)
            taken += len(block)
            assert taken < at_most, "the server takes all of it"
    return taken


def peak(server: Serving) -> int:
    """The most memory that it has had, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def closed(server: Serving, why: str) -> int:
    """How many connections the server has said that it closed, for this reason."""
    return sum(event[why] for event in server.events("connections_closed"))


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


# --- too much ------------------------------------------------------------------------------------------------------


@pytest.mark.serial
@needs_proc
@pytest.mark.parametrize(
    ("head", "blocks"),
    [
        (GET + b"a: ", repeat(BLOCK)),
        (GET, repeat(BLOCK)),
        (b"GET /", repeat(BLOCK)),
        (GET, repeat(b"a: b\r\n" * 10_000)),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", repeat(BLOCK)),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\na: ", repeat(BLOCK)),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", repeat(b"a: b\r\n" * 10_000)),
    ],
    ids=["value", "name", "path", "headers", "chunk-extension", "trailer", "trailers"],
)
def test_what_has_no_end_is_refused_early_and_costs_no_memory(
    hasty: Serving, head: bytes, blocks: Iterable[bytes]
) -> None:
    before = peak(hasty)
    with connect(hasty) as client:
        client.sendall(head)
        send_until_refused(client, blocks)
        reply = until_closed(client)
    # The kernel drops a reply that comes while we still send; that we were cut off is the point.
    assert reply == b"" or code(reply) == (431, "head-too-large")
    assert peak(hasty) - before < GROWTH
    assert hasty.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("size", [32_768, 10_000_000])
def test_a_large_header_is_answered_with_a_problem(hasty: Serving, size: int) -> None:
    with connect(hasty) as client:
        head = GET + b"a: " + b"x" * size
        client.sendall(head[:100_000])
        assert code(until_closed(client)) == (431, "head-too-large")


@pytest.mark.serial
@needs_proc
@pytest.mark.parametrize(
    ("key", "status", "name"), [(KEY, 413, "too-large"), ("wrong", 401, "unauthorized")], ids=["key", "no-key"]
)
def test_an_endless_body_is_answered_at_its_limit_and_cut_off_in_time(
    hasty: Serving, key: str, status: int, name: str
) -> None:
    before = peak(hasty)
    head = POST.replace(KEY.encode(), key.encode()) + b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK)
    with connect(hasty) as client:
        client.sendall(head + chunk * 17)
        assert code(read_reply(client)) == (status, name)
        send_until_refused(client, repeat(chunk), at_most=100_000_000_000)
    assert peak(hasty) - before < GROWTH


# --- too slowly ----------------------------------------------------------------------------------------------------


def test_who_is_slow_is_told_and_hung_up_on(hasty: Serving) -> None:
    starts = [b"G", GET, POST + b"Content-Length: 1000000\r\n\r\n", POST + b"Transfer-Encoding: chunked\r\n\r\n"]
    with ExitStack() as stack:
        silent = stack.enter_context(connect(hasty))
        clients = [stack.enter_context(connect(hasty)) for _ in starts]
        for client, start in zip(clients, starts, strict=True):
            client.sendall(start)
        assert hasty.http.get("/healthz").status_code == 200
        assert [code(until_closed(client)) for client in clients] == [(408, "request-timeout")] * len(starts)
        assert until_closed(silent) == b""


def test_a_byte_now_and_then_buys_no_time(hasty: Serving) -> None:
    with connect(hasty) as client:
        client.settimeout(0.02)
        client.sendall(GET)
        received = b""
        for _ in range(1000):
            with suppress(ConnectionError):
                client.send(b"a")
            try:
                data = client.recv(65_536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if not data:
                break
            received += data
        else:
            pytest.fail("it was served for 20 seconds")
    assert code(received) == (408, "request-timeout")


def test_who_reads_no_reply_is_hung_up_on(hasty: Serving) -> None:
    payload = "x" * 200_000
    job_id = hasty.submit("echo", payload)
    hasty.until(job_id)
    request = f"GET /v1/jobs/{job_id} HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\n\r\n".encode()
    with connect(hasty, buffer=4096) as client:
        before = closed(hasty, "slow")
        client.sendall(request * 30)  # more than the kernel keeps for us on its side
        eventually(lambda: closed(hasty, "slow") > before)
        assert len(until_closed(client)) < 30 * 2 * len(payload)
    assert hasty.job(job_id)["payload"] == payload


# --- too many ------------------------------------------------------------------------------------------------------


def test_others_are_served_while_many_hold_connections(hasty: Serving) -> None:
    with ExitStack() as stack:
        for _ in range(3 * CONNECTIONS):
            client = stack.enter_context(connect(hasty))
            client.sendall(GET)
        with connect(hasty) as client:
            client.sendall(GET + b"\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    eventually(lambda: closed(hasty, "to_make_room") >= CONNECTIONS)

"""The link over TLS, to Debian's redis-server: the Valkey that is installed with Queuey speaks no TLS."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
from redis import exceptions as redis_errors

from queuey.store.connections.pipelined import PipelinedConnection, connect
from tests.support.session.tools import old_redis
from tests.support.store import Server, free_port
from tests.support.stores import StartServer

pytestmark = pytest.mark.needs("openssl")


USER = ("--user", "tester", "on", ">secret", "~*", "&*", "+@all")


@dataclass
class TlsStore:
    server: Server
    port: int
    certificate: Path

    def link(self, **options: str) -> PipelinedConnection:
        given = {"ssl_ca_certs": str(self.certificate)} | options
        query = "&".join(f"{name}={value}" for name, value in given.items())
        return connect(f"rediss://tester:secret@localhost:{self.port}/1?{query}", timeout=10.0).link


@pytest.fixture
def store(start_server: StartServer, tmp_path: Path) -> TlsStore:
    """A store with a user and a certificate of its own."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    port = free_port()
    options = ["--bind", "127.0.0.1", "--tls-port", str(port), "--tls-cert-file", str(certificate)]
    options += ["--tls-key-file", str(key), "--tls-auth-clients", "no", "--databases", "2"]
    server = start_server(*options, *USER, binary=old_redis())
    return TlsStore(server, port, certificate)


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=request.param)


def test_calls_go_over_tls_as_the_user_to_the_database(store: TlsStore, runner: asyncio.Runner) -> None:
    async def check() -> None:
        link = store.link()
        large = "x" * 1_000_000
        calls = [link.call("ECHO", f"{number}") for number in range(100)]
        calls += [link.call("SET", "key", large), link.call("GET", "key"), link.call("ACL", "WHOAMI")]
        *echoes, stored, found, user = await asyncio.gather(*calls)
        assert echoes == [b"%d" % number for number in range(100)]
        assert (stored, found, user) == (b"OK", large.encode(), b"tester")
        assert b"db=1" in await link.call("CLIENT", "INFO")
        session = link._session
        assert session is not None
        assert session._transport.get_extra_info("ssl_object") is not None
        await link.close()
        assert session.closed.is_set()
        assert session._transport.is_closing()

    with runner:
        runner.run(check())


def test_over_tls_a_lost_connection_is_made_again(store: TlsStore, runner: asyncio.Runner) -> None:
    async def check() -> None:
        link, other = store.link(), store.link()
        waiting = asyncio.create_task(link.call("BLPOP", "nothing", 0))
        while b"cmd=blpop" not in await other.call("CLIENT", "LIST"):
            pass
        await other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(redis_errors.ConnectionError):
            await waiting
        assert await link.call("ECHO", "again") == b"again"
        await other.close()
        await link.close()

    with runner:
        runner.run(check())


def test_over_tls_a_store_that_does_not_read_stops_what_is_sent(store: TlsStore, runner: asyncio.Runner) -> None:
    async def check() -> None:
        link = store.link()
        await link.call("PING")
        session = link._session
        assert session is not None
        store.server.process.send_signal(signal.SIGSTOP)
        calls = []
        for number in range(100):  # each in a pass of its own
            calls.append(asyncio.create_task(link.call("ECHO", f"{number:04}" + "x" * 100_000)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert session._paused
        store.server.process.send_signal(signal.SIGCONT)
        echoes = await asyncio.gather(*calls)
        assert [echo[:4] for echo in echoes] == [b"%04d" % number for number in range(100)]
        await link.close()

    with runner:
        runner.run(check())


def test_a_certificate_that_nobody_vouches_for_is_refused(store: TlsStore, runner: asyncio.Runner) -> None:
    async def check() -> None:
        link = connect(f"rediss://tester:secret@localhost:{store.port}/1", timeout=10.0).link
        with pytest.raises(redis_errors.ConnectionError, match="certificate verify failed"):
            await link.call("PING")
        await link.close()

    with runner:
        runner.run(check())

"""The store: one of Queuey's own that dies, or one from outside that is named by its URL and goes away."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, Popen, run
from typing import Any

import pytest

from tests.e2e.conftest import Serve
from tests.support.gate import Gate
from tests.support.serving import PATIENCE, ROOT, Serving, environment, eventually
from tests.support.store import Server, free_port, valkey_binary

SOON = ("--store-timeout", "300ms", "--request-deadline", "500ms")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def store(port: int) -> Iterator[Server]:
    """A store from outside, on a unix socket and on TCP, that keeps what it has acknowledged."""
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    server = Server(valkey_binary(), *durable, "--port", str(port), "--bind", "127.0.0.1")
    yield server
    server.stop()


def kill(store: Server) -> None:
    store.process.kill()
    store.process.wait()


def start_again(store: Server) -> None:
    store.process = Popen(store.process.args, stdout=DEVNULL)


def healthz(server: Serving) -> dict[str, Any]:
    reply = server.http.get("/healthz")
    assert reply.status_code == 200
    return dict(reply.json())


async def test_while_the_store_is_away_requests_are_told_so_and_nothing_acknowledged_is_lost(
    serve: Serve, store: Server, port: int, gate: Gate
) -> None:
    server = serve(*SOON, "--redis", store.url)
    other = serve(*SOON, "--redis", f"redis://127.0.0.1:{port}/0", "--roles", "api")
    assert server.http.get("/readyz").json() == {"status": "ready", "redis": "up", "durability": "verified"}
    running = server.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    waiting = [other.submit("echo", number, delay=1) for number in range(20)]
    kill(store)
    visitor.let_go("finished while the store was away")
    for each in (server, other):
        reply = each.http.post("/v1/jobs", json={"type": "echo"})
        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) >= 1
        assert reply.headers["content-type"] == "application/problem+json"
        assert each.http.get(f"/v1/jobs/{running}").status_code == 503
        assert healthz(each) == {"status": "ok", "redis": "down"}
        ready = each.http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "store down")
    start_again(store)
    eventually(lambda: server.http.get("/readyz").status_code == 200)
    assert server.until(running)["result"] == "finished while the store was away"
    assert [other.until(job_id)["result"] for job_id in waiting] == list(range(20))
    assert server.until(running)["crashes"] == 0
    assert server.until(server.submit("echo", "again"))["result"] == "again"


async def test_the_embedded_store_is_started_again_when_it_is_killed(serve: Serve, gate: Gate) -> None:
    server = serve()
    running = server.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    waiting = [server.submit("echo", number, delay=0.5) for number in range(20)]
    os.kill(server.store_pid, signal.SIGKILL)
    server.event("store_lost")
    visitor.let_go("finished all the same")
    eventually(lambda: len(server.events("store_started")) == 2)
    job = server.until(running)
    assert (job["result"], job["attempts"], job["crashes"]) == ("finished all the same", 0, 0)
    assert [server.until(job_id)["result"] for job_id in waiting] == list(range(20))
    assert server.until(server.submit("echo", "again"))["result"] == "again"


# --- a store that cannot be used ---------------------------------------------------------------------------------

WITHOUT_PATIENCE = (
    "import sys, queuey.server.store as s; s.STORE_SECONDS = 0; from queuey.cli import main; sys.exit(main())"
)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://user:canary-of-the-password@127.0.0.1:{closed}", "The store cannot be reached"),
        ("redis://user:canary-of-the-password@127.0.0.1:{port}", "refuses the user name or password"),
        ("unix://{folder}/missing.sock", "The store cannot be reached"),
    ],
    ids=["nobody-listens", "wrong-password", "no-socket"],
)
def test_a_store_that_cannot_be_used_ends_the_start_with_a_plain_message(
    store: Server, port: int, folder: Path, url: str, reason: str
) -> None:
    url = url.format(closed=free_port(), port=port, folder=folder)
    command = [sys.executable, "-c", WITHOUT_PATIENCE, "serve", "--port", "0", "--redis", url]
    ended = run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 3
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("queuey: ")
    assert reason in last
    assert "--redis" in last
    assert "Traceback" not in ended.stderr
    assert "canary" not in ended.stderr + ended.stdout

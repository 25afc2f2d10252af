"""SIGTERM: what runs may finish, the rest goes to others untouched, and nothing is left behind."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from queuey.settings.settings import Settings
from tests.e2e.conftest import Serve
from tests.support.gate import Gate
from tests.support.http import moment
from tests.support.serving import Serving, eventually
from tests.support.store_users import alive


async def test_an_idle_server_ends_soon_and_leaves_nothing(serve: Serve, gate: Gate, folder: Path) -> None:
    server = serve()
    job_id = server.submit("gate.process", gate.path)
    child = await gate.visitor()
    child.let_go("")
    server.until(job_id, "succeeded")
    processes = [child.pid, server.store_pid]
    assert all(alive(pid) for pid in processes)
    assert server.stop() == 0
    assert not any(alive(pid) for pid in processes)
    assert [file.name for file in folder.rglob("*.sock")] == []
    (draining,), (gone,), (stopped,) = map(server.events, ("draining", "store_stopped", "stopped"))
    began, without_store, ended = (moment(line["timestamp"]) for line in (draining, gone, stopped))
    assert began < without_store < ended
    assert ended - began < timedelta(seconds=Settings().drain_timeout), "nothing was waited for"


async def test_a_running_job_may_finish_while_http_still_answers(serve: Serve, gate: Gate) -> None:
    server = serve("--concurrency", "1")
    job_id = server.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    waiting = server.submit("echo", 1)
    assert server.http.get("/readyz").json()["status"] == "ready"
    server.terminate()
    server.event("draining", running=1)
    ready = server.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    assert ready.headers["retry-after"] == "1"
    assert server.http.get("/healthz").json() == {"status": "ok", "redis": "up"}
    assert server.job(job_id)["status"] == "running"
    late = server.submit("echo", 2)
    visitor.let_go("finished")
    assert server.wait() == 0
    other = serve()
    assert other.job(job_id) | {"status": "succeeded", "result": "finished"} == other.job(job_id)
    assert [other.until(job)["attempts"] for job in (waiting, late)] == [0, 0]


async def test_an_idle_server_answers_until_a_balancer_has_seen_it(serve: Serve) -> None:
    server = serve("--drain-delay", "600s")
    server.terminate()
    server.event("draining", running=0)
    assert server.http.get("/readyz").status_code == 503
    job_id = server.submit("echo", 1)
    assert server.job(job_id)["status"] == "queued"  # it claims no more
    eventually(lambda: asked_again(server), within=5)
    assert server.wait() == 1
    assert server.events("forced_exit")
    assert serve().until(job_id)["result"] == 1


async def test_what_runs_past_the_drain_timeout_is_run_by_another(serve: Serve, gate: Gate) -> None:
    server = serve("--drain-timeout", "0s")
    jobs = []
    for job_type in ("gate.loop", "gate.thread", "gate.process"):
        jobs.append(server.submit(job_type, gate.path))
        await gate.visitor()
    server.terminate()
    assert server.wait() == 0
    assert server.events("releasing", jobs=3)
    other = serve()
    for _ in jobs:
        (await gate.visitor()).let_go("by another")
    for job_id in jobs:
        job = other.until(job_id)
        assert (job["result"], job["attempts"], job["crashes"], job["errors"]) == ("by another", 0, 0, [])
        assert job["worker"] == other.event("started")["replica"]


def asked_again(server: Serving) -> bool:
    """SIGTERM once more, since one that follows the first closely counts as its echo. Returns whether it has ended."""
    server.terminate()
    return server.process.poll() is not None


async def test_a_second_signal_ends_it_at_once_and_gives_the_jobs_back(serve: Serve, gate: Gate) -> None:
    server = serve()
    other = serve("--roles", "api")
    jobs = [server.submit("gate.loop", gate.path), server.submit("gate.thread", gate.path)]
    for _ in jobs:
        await gate.visitor()
    server.terminate()
    server.event("draining", running=2)
    eventually(lambda: asked_again(server), within=5)
    assert server.wait() == 1
    assert server.events("forced_exit")
    for job_id in jobs:
        job = other.job(job_id)
        assert (job["status"], job["attempts"], job["crashes"]) == ("queued", 0, 0)
    assert alive(other.store_pid)


async def test_a_second_signal_stops_a_store_that_nobody_else_uses(serve: Serve, gate: Gate) -> None:
    server = serve()
    store = server.store_pid
    server.submit("gate.loop", gate.path)
    await gate.visitor()
    server.terminate()
    server.event("draining", running=1)
    eventually(lambda: asked_again(server), within=5)
    assert server.wait() == 1
    assert server.events("forced_exit")
    eventually(lambda: not alive(store))


def test_a_server_that_was_killed_leaves_its_store_to_the_next(serve: Serve) -> None:
    server = serve()
    job_id = server.until(server.submit("echo", "kept"))["id"]
    store = server.store_pid
    server.kill()
    assert alive(store)
    following = serve()
    assert following.events("store_joined", pid=store)
    assert following.job(job_id)["result"] == "kept"
    assert following.stop() == 0
    eventually(lambda: not alive(store))
    assert not os.path.exists(following.data_dir / "valkey.sock")

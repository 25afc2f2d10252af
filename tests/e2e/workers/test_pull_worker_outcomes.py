"""The examples of workers in bash and in Node, where answers go wrong and results cannot be sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.support.pull.scripted_leases import RESET, scripted_leases
from tests.support.pull.workers import PullWorker, bash
from tests.support.serving import ROOT, eventually

needs_bash = pytest.mark.needs("bash", "curl")
needs_node = pytest.mark.needs("node")

HANDLERS = """
  "bigint": async () => 1n,
  "circular": async () => { const all = []; all.push(all); return all; },
  "long": async ({ length }) => "x".repeat(length),
"""


@contextmanager
def running(command: list[str], url: str, folder: Path) -> Iterator[None]:
    log = folder / "worker.log"
    worker = PullWorker(command, url, log)
    try:
        yield
    finally:
        worker.close()
        print(log.read_text())


@needs_bash
def test_bash_asks_and_tells_again_until_it_has_an_answer(folder: Path) -> None:
    with (
        scripted_leases(leases=[503, RESET, 429], complete=[503, RESET]) as server,
        running(bash("q"), server.url, folder),
    ):
        eventually(lambda: len(server.bodies.get("/v1/leases/complete", [])) == 3)
        asked = server.bodies["/v1/leases"][:4]
        told = server.bodies["/v1/leases/complete"]
    assert len(set(asked)) == 1
    assert [json.loads(body)["result"] for body in told] == ["cba"] * 3
    assert "/v1/leases/fail" not in server.bodies


@needs_bash
def test_bash_fails_a_job_whose_result_is_refused(folder: Path) -> None:
    with (
        scripted_leases(complete=[400]) as server,
        running([*bash("q")[:2], "echo", "no JSON"], server.url, folder),
    ):
        eventually(lambda: "/v1/leases/fail" in server.bodies)
        (told,) = server.bodies["/v1/leases/fail"]
    error = json.loads(told)["error"]
    assert "the result was refused" in error
    assert "scripted 400" in error
    assert len(server.bodies["/v1/leases/complete"]) == 1


@needs_node
def test_node_tells_each_result_that_can_be_told(serve: Serve, folder: Path) -> None:
    api = serve("--roles", "api,reaper")
    source = (ROOT / "examples" / "pull-worker.mjs").read_text()
    start = "const handlers = {\n"
    assert start in source
    script = folder / "worker.mjs"
    script.write_text(source.replace(start, start + HANDLERS))

    def submit(job_type: str, payload: object = None) -> str:
        return api.submit(job_type, payload, queue="pulled", max_attempts=1)

    bad = {
        submit("bigint"): "BigInt",
        submit("circular"): "circular",
        submit("long", {"length": 300_000}): "Send at most 256000",
        submit("long", {"length": 1_100_000}): "900000 are allowed",
    }
    good = [submit("long", {"length": 200_000}) for _ in range(6)]
    with running(["node", str(script), "pulled"], api.url, folder):
        for job_id in good:
            done = api.until(job_id)
            assert (done["status"], len(done["result"])) == ("succeeded", 200_000)
        for job_id, reason in bad.items():
            done = api.until(job_id)
            assert done["status"] == "dead_letter"
            assert reason in done["last_error"]


@needs_node
def test_node_tells_one_by_one_what_was_refused_together(folder: Path) -> None:
    with (
        scripted_leases(2, complete=[413, 413]) as server,
        running(["node", str(ROOT / "examples" / "pull-worker.mjs"), "q"], server.url, folder),
    ):
        eventually(lambda: len(server.bodies.get("/v1/leases/complete", [])) == 3)
    told = [json.loads(body)["jobs"] for body in server.bodies["/v1/leases/complete"]]
    assert [[item["id"] for item in items] for items in told] == [["J1", "J2"], ["J1"], ["J2"]]
    (failed,) = json.loads(server.bodies["/v1/leases/fail"][0])["jobs"]
    assert (failed["id"], failed["token"]) == ("J1", "t")
    assert "scripted 413" in failed["error"]["message"]

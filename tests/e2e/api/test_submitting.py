"""What a request may ask of a job: when it runs, before which others, once only, many at a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from queuey.protocol import ids
from tests.e2e.conftest import Serve
from tests.support.gate import Gate
from tests.support.http import moment
from tests.support.serving import Serving

# --- when --------------------------------------------------------------------------------------------------------


def test_a_delayed_job_waits_and_then_runs_by_itself(server: Serving) -> None:
    job_id = server.submit("echo", 1, delay=0.3)
    job = server.job(job_id)
    assert (job["status"], job["started_at"]) == ("scheduled", None)
    assert moment(job["run_at"]) - moment(job["created_at"]) == timedelta(seconds=0.3)
    job = server.until(job_id)
    assert moment(job["started_at"]) >= moment(job["run_at"])


def test_a_job_runs_at_its_time(server: Serving) -> None:
    at = datetime.now(UTC) + timedelta(seconds=0.3)
    job = server.until(server.submit("echo", 1, run_at=at.isoformat()))
    assert abs(moment(job["run_at"]) - at) < timedelta(milliseconds=2)
    assert moment(job["started_at"]) >= moment(job["run_at"])


def test_a_time_in_the_past_is_now(server: Serving) -> None:
    job = server.until(server.submit("echo", 1, run_at="2001-01-01T00:00:00Z"))
    assert job["status"] == "succeeded"


def test_a_job_of_next_year_is_kept_until_then(server: Serving) -> None:
    at = (datetime.now(UTC) + timedelta(days=364)).replace(microsecond=0)
    job = server.job(server.submit("echo", 1, run_at=at.astimezone().isoformat()))
    assert (job["status"], moment(job["run_at"])) == ("scheduled", at)


# --- order -------------------------------------------------------------------------------------------------------


async def test_higher_priorities_go_first_and_within_one_the_older(serve: Serve, gate: Gate) -> None:
    server = serve("--concurrency", "1")
    holder = server.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    jobs = [server.submit("echo", None, priority=lane) for lane in ("low", "default", "high", "low", "high", "default")]
    lengths = server.http.get("/v1/queues/metrics").json()
    assert [lengths[f"queue_{lane}_length"] for lane in ("high", "default", "low")] == [2, 2, 2]
    (queue,) = lengths["queues"]
    assert (queue["name"], queue["running"], queue["paused"]) == ("default", 1, False)
    visitor.let_go("")
    ends = [server.until(job_id) for job_id in jobs]
    assert server.until(holder)["status"] == "succeeded"
    times = [(moment(ends[each]["started_at"]), moment(ends[each]["finished_at"])) for each in (2, 4, 1, 5, 0, 3)]
    assert times == sorted(times)


def test_queues_that_nobody_serves_wait(server: Serving) -> None:
    job_id = server.submit("echo", 1, queue="elsewhere")
    assert server.until(server.submit("echo", 1))["status"] == "succeeded"
    assert server.job(job_id) | {"status": "queued", "queue": "elsewhere"} == server.job(job_id)
    assert server.cancel(job_id).json()["status"] == "cancelled"


# --- once --------------------------------------------------------------------------------------------------------


def test_the_holder_of_a_dedupe_key_answers_for_it_also_when_it_has_succeeded(server: Serving) -> None:
    first = server.submit("echo", 1, dedupe_key="file123:200x200")
    for payload in (1, 2):
        reply = server.http.post("/v1/jobs", json={"type": "echo", "payload": payload, "dedupe_key": "file123:200x200"})
        assert reply.json() == {"job_id": first, "deduplicated": True}
        assert reply.headers["location"] == f"/v1/jobs/{first}"
        assert server.until(first)["status"] == "succeeded"
    assert server.job(first)["dedupe_key"] == "file123:200x200"


def test_death_and_cancel_free_a_dedupe_key(server: Serving) -> None:
    dead = server.until(server.submit("dead", "", dedupe_key="again"))["id"]
    waiting = server.submit("echo", 1, dedupe_key="again", delay=3600)
    assert waiting != dead
    assert server.submit("echo", 1, dedupe_key="again") == waiting
    server.cancel(waiting)
    last = server.submit("echo", 1, dedupe_key="again")
    assert last not in (dead, waiting)


def test_a_request_that_is_sent_again_with_its_id_makes_one_job(server: Serving) -> None:
    job_id = ids.new_id()
    assert [server.submit("echo", 1, id=job_id) for _ in range(3)] == [job_id] * 3
    assert server.until(job_id)["status"] == "succeeded"
    assert server.submit("echo", 1, id=job_id) == job_id


# --- many --------------------------------------------------------------------------------------------------------

ITEMS: list[object] = [
    {"type": "echo", "payload": 1},
    {"type": "echo", "max_attempts": 0},
    {"type": "echo", "payload": 2, "dedupe_key": "batch"},
    {"type": "echo", "payload": 3, "dedupe_key": "batch"},
    "no job",
    {"type": "echo", "payload": 4},
]


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_a_batch_has_an_outcome_for_each_item(server: Serving, kind: str) -> None:
    lines = [json.dumps(item).replace("batch", kind) for item in ITEMS]
    body = "\n".join(lines) if "ndjson" in kind else f"[{','.join(lines)}]"
    reply = server.http.post("/v1/jobs/batch", content=body, headers={"content-type": kind})
    assert reply.status_code == 200
    first, bad_field, holder, duplicate, no_object, last = reply.json()["results"]
    assert [item["deduplicated"] for item in (first, holder, duplicate, last)] == [False, False, True, False]
    assert holder["job_id"] == duplicate["job_id"]
    assert bad_field["error"]["status"] == 422
    assert bad_field["error"]["errors"][0]["pointer"] == "/max_attempts"
    assert no_object["error"]["status"] == 422
    results = [server.until(item["job_id"])["result"] for item in (first, holder, last)]
    assert results == [1, 2, 4]


def test_a_thousand_jobs_in_one_request(server: Serving) -> None:
    items = [{"type": "echo", "payload": number} for number in range(1000)]
    results = server.http.post("/v1/jobs/batch", json=items).json()["results"]
    assert len({item["job_id"] for item in results}) == 1000
    for index in (0, 511, 512, 999):
        assert server.until(results[index]["job_id"])["result"] == index
    refused = server.http.post("/v1/jobs/batch", json=[*items, *items[:1]])
    assert (refused.status_code, refused.json()["type"]) == (413, "urn:queuey:problem:too-large")


def test_a_server_that_checks_payloads_refuses_what_its_handler_cannot_take(serve: Serve) -> None:
    server = serve("--check-payloads", "yes", app=None)
    refused = server.http.post("/v1/jobs", json={"type": "math.square", "payload": {}})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/payload")
    batch = server.http.post(
        "/v1/jobs/batch", json=[{"type": "math.square"}, {"type": "math.square", "payload": {"n": 2}}]
    )
    first, second = batch.json()["results"]
    assert first["error"]["status"] == 422
    server.until(second["job_id"], "succeeded")

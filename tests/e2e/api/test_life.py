"""A job's whole life over HTTP: it succeeds, is tried again, dies, and is replayed."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Serve
from tests.support.gate import Gate
from tests.support.http import moment
from tests.support.serving import Serving, eventually

NULLS = {
    *("batch_key", "checkpoint", "dedupe_key", "finished_at", "last_error", "last_error_attempt", "lease_expires_at"),
    *("metadata", "progress", "result", "run_at", "started_at", "unique"),
}


@pytest.mark.parametrize("job_type", ["echo", "echo.thread", "echo.process"])
def test_a_job_succeeds_in_the_loop_in_a_thread_and_in_a_process(server: Serving, job_type: str) -> None:
    payload = {"text": "grüße", "list": [1, 2.5, None, True], "big": 10**30}
    reply = server.http.post("/v1/jobs", json={"type": job_type, "payload": payload, "timeout": 30})
    assert reply.status_code == 200
    job_id = reply.json()["job_id"]
    assert reply.json() == {"job_id": job_id, "deduplicated": False}
    assert reply.headers["location"] == f"/v1/jobs/{job_id}"
    job = server.until(job_id)
    assert job | {"status": "succeeded", "attempts": 0, "crashes": 0, "max_attempts": 5, "timeout": 30} == job
    assert (job["payload"], job["result"]) == (payload, payload)
    assert (job["type"], job["queue"], job["priority"], job["errors"]) == (job_type, "default", "default", [])
    assert moment(job["created_at"]) <= moment(job["started_at"]) <= moment(job["finished_at"])
    assert job["lease_expires_at"] is None


@pytest.mark.parametrize("job_type", ["frozen", "frozen.process"])
def test_the_objects_of_the_start_are_not_collected_again_and_again(server: Serving, job_type: str) -> None:
    """In the server and in its child processes. Without it a full collection stops every reply for some 25 ms."""
    assert server.until(server.submit(job_type, None))["result"] > 10_000


def test_the_text_of_a_payload_and_a_result_is_kept_to_the_letter(server: Serving) -> None:
    text = '{"type":"echo","payload":{"n":12345678901234567890123,"f":1.10,"e":[],"o":{},"s":"\\u00e9\\ud83d\\ude00"}}'
    reply = server.http.post("/v1/jobs", content=text, headers={"content-type": "application/json"})
    job_id = reply.json()["job_id"]
    assert server.until(job_id)["status"] == "succeeded"
    body = server.http.get(f"/v1/jobs/{job_id}").text
    assert '"payload":{"n":12345678901234567890123,"f":1.10,"e":[],"o":{},"s":"\\u00e9\\ud83d\\ude00"}' in body
    assert '"result":{"n":12345678901234567890123,"f":1.1,"e":[],"o":{},"s":"é😀"}' in body


async def test_a_running_job_tells_of_its_lease_and_worker(server: Serving, gate: Gate) -> None:
    job_id = server.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    job = server.job(job_id)
    assert job["status"] == "running"
    assert moment(job["lease_expires_at"]) > moment(job["started_at"])
    assert job["worker"] == server.event("started")["replica"]
    assert {name for name, value in job.items() if value is None} <= NULLS | {"timeout", "expires_at", "traceparent"}
    visitor.let_go("done")
    assert server.until(job_id)["result"] == "done"


def test_a_failed_job_is_tried_again_until_it_succeeds(server: Serving) -> None:
    job = server.until(server.submit("fail", 2))
    assert (job["status"], job["result"], job["attempts"]) == ("succeeded", 3, 2)
    assert [(error["attempt"], error["kind"], error["message"]) for error in job["errors"]] == [
        (1, "error", "ValueError: attempt 1"),
        (2, "error", "ValueError: attempt 2"),
    ]
    assert job["last_error"] == "ValueError: attempt 2"
    assert "jobs.py" in job["errors"][0]["detail"]


def test_a_handler_may_say_when_it_wants_to_be_tried_again(server: Serving) -> None:
    job = server.until(server.submit("retry", 0.0))
    assert (job["status"], job["result"], job["attempts"], job["last_error"]) == ("succeeded", 2, 1, "not yet")
    scheduled = server.until(server.submit("retry", 3600), "scheduled")
    due = (moment(scheduled["run_at"]) - moment(scheduled["errors"][0]["at"])).total_seconds()
    assert due == pytest.approx(3600, abs=0.01)


@pytest.mark.parametrize(
    ("fields", "kind", "attempts", "message"),
    [
        ({"type": "fail", "payload": 99, "max_attempts": 2}, "error", 2, "ValueError: attempt 2"),
        ({"type": "dead", "payload": "never"}, "dead", 1, "never"),
        ({"type": "sum", "payload": {"a": 1, "b": "x"}}, "payload", 1, "$.b"),
        ({"type": "text", "payload": 256_001, "max_attempts": 1}, "result_too_large", 1, "256,003 bytes"),
        ({"type": "slow", "max_attempts": 1}, "timeout", 1, "0.1 s"),
        ({"type": "die", "payload": "exit", "max_attempts": 2}, "worker_died", 2, "exit code 7"),
        ({"type": "die", "payload": "kill", "max_attempts": 2}, "worker_died", 2, "SIGKILL"),
    ],
    ids=["failures", "dead", "payload", "large-result", "timeout", "exit", "kill"],
)
def test_a_job_that_cannot_succeed_is_dead_lettered_and_says_why(
    server: Serving, fields: dict[str, object], kind: str, attempts: int, message: str
) -> None:
    reply = server.http.post("/v1/jobs", json=fields)
    job = server.until(reply.json()["job_id"])
    assert (job["status"], job["attempts"], job["crashes"], job["result"]) == ("dead_letter", attempts, 0, None)
    assert [error["kind"] for error in job["errors"]] == [kind] * attempts
    assert message in job["last_error"]


def test_the_neighbours_of_a_process_that_dies_succeed(server: Serving) -> None:
    jobs = []
    for number in range(3):
        jobs.append(server.submit("echo.process", number))
        jobs.append(server.submit("die", "exit" if number % 2 else "kill", max_attempts=1))
    ends = [server.until(job_id) for job_id in jobs]
    assert [job["status"] for job in ends[::2]] == ["succeeded"] * 3
    assert [job["status"] for job in ends[1::2]] == ["dead_letter"] * 3
    assert all(job["crashes"] == job["attempts"] == 0 for job in ends[::2])


def test_dead_jobs_are_replayed_oldest_first_as_a_new_run(serve: Serve) -> None:
    server = serve(key="dev")
    first, second = [server.until(server.submit("dead", reason))["id"] for reason in ("first", "second")]
    lengths = server.http.get("/v1/queues/metrics").json()
    assert lengths["queue_dlq_length"] == 2
    assert server.http.post("/v1/replay-dlq", headers={"x-api-key": "wrong"}).status_code == 401
    assert server.http.post("/v1/replay-dlq", params={"limit": 1}).json() == {"requeued": 1}

    def second_death(job_id: str) -> bool:
        return len(server.job(job_id)["errors"]) == 2 and server.job(job_id)["status"] == "dead_letter"

    eventually(lambda: second_death(first))
    job = server.job(first)
    assert (job["attempts"], [error["message"] for error in job["errors"]]) == (1, ["first", "first"])
    assert len(server.job(second)["errors"]) == 1
    assert server.http.post("/v1/replay-dlq").json() == {"requeued": 2}
    eventually(lambda: second_death(second))
    for limit in ("0", "1001", "many"):
        refused = server.http.post("/v1/replay-dlq", params={"limit": limit})
        assert refused.status_code in (400, 422)
        assert "limit" in refused.text

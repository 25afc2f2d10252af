"""The examples of workers in bash and in Node, against a server that runs no handlers itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Serve
from tests.support.pull.workers import PullWorker, bash, node
from tests.support.serving import Serving, eventually
from tests.support.session.tools import need

LANGUAGES = {"bash": bash, "node": node}
NEEDED = {"bash": ("bash", "curl"), "node": ("node",)}

Start = Callable[..., PullWorker]


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    need(*NEEDED[request.param])
    return str(request.param)


@pytest.fixture
def api(serve: Serve) -> Serving:
    return serve("--roles", "api,reaper", "--lease", "1s", "--reap-interval", "200ms", "--reap-delay-max", "50ms")


@pytest.fixture
def start(language: str, api: Serving, folder: Path) -> Iterator[Start]:
    """Starts workers of this language on the queue `pulled`."""
    workers: list[PullWorker] = []

    def started(**options: Any) -> PullWorker:
        workers.append(PullWorker(LANGUAGES[language]("pulled"), api.url, folder / "workers.log", **options))
        return workers[-1]

    yield started
    for worker in workers:
        worker.close()
    print((folder / "workers.log").read_text() if workers else "")


def submit(api: Serving, job_type: str, payload: object = None, **fields: object) -> str:
    return api.submit(job_type, payload, queue="pulled", **fields)


def status(api: Serving, job_id: str) -> str:
    return str(api.http.get(f"/v1/jobs/{job_id}").json()["status"])


def running(api: Serving, job_id: str) -> None:
    eventually(lambda: status(api, job_id) == "running")


def test_jobs_are_done_and_their_results_kept(api: Serving, start: Start) -> None:
    texts = ["hello", 'a "quoted" \\ ü€😀', 'x,"attempt":1,"lease_expires_at":"y', "line\nline", "y" * 200_000]
    jobs = [submit(api, "text.reverse", {"text": text}) for text in texts]
    start()
    for job_id, text in zip(jobs, texts, strict=True):
        done = api.until(job_id)
        assert (done["status"], done["result"], done["attempts"]) == ("succeeded", text[::-1], 0)
    late = submit(api, "text.reverse", {"text": "late"})
    assert api.until(late)["result"] == "etal"


def test_a_failure_is_told_with_its_reason(api: Serving, start: Start, language: str) -> None:
    start()
    failed = api.until(submit(api, "bad", max_attempts=2))
    assert (failed["status"], failed["attempts"]) == ("dead_letter", 2)
    reason = 'no luck: "quoted" \\ and\n\tmore' if language == "bash" else "there is no handler for the type bad"
    assert reason in failed["last_error"]


def test_a_lease_is_kept_for_as_long_as_the_job_takes(api: Serving, start: Start) -> None:
    start(lease=1)
    done = api.until(submit(api, "sleep", {"seconds": 2.5}))
    assert (done["status"], done["crashes"], done["result"]) == ("succeeded", 0, "rested")


def test_a_cancelled_job_is_stopped(api: Serving, start: Start) -> None:
    start(lease=1)
    job_id = submit(api, "sleep", {"seconds": 600})
    running(api, job_id)
    api.http.post(f"/v1/jobs/{job_id}/cancel")
    assert api.until(job_id)["status"] == "cancelled"


def test_a_worker_that_is_told_to_stop_gives_its_job_back(api: Serving, start: Start) -> None:
    worker = start()
    job_id = submit(api, "sleep", {"seconds": 600})
    running(api, job_id)
    assert worker.terminate() == 0
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["attempts"], job["crashes"]) == ("queued", 0, 0)


def test_a_worker_that_waits_stops_at_once_and_takes_nothing_along(api: Serving, start: Start) -> None:
    worker = start()
    assert api.until(submit(api, "text.reverse", {"text": "ab"}))["result"] == "ba"
    assert worker.terminate() == 0
    job_id = submit(api, "text.reverse", {"text": "cd"})
    start()
    done = api.until(job_id)
    assert (done["result"], done["crashes"]) == ("dc", 0)


def test_what_a_killed_worker_held_runs_again(api: Serving, start: Start) -> None:
    worker = start(lease=1)
    job_id = submit(api, "sleep", {"seconds": 1.2})
    running(api, job_id)
    worker.kill()
    start(lease=1)
    done = api.until(job_id)
    assert (done["status"], done["crashes"], done["attempts"]) == ("succeeded", 1, 0)

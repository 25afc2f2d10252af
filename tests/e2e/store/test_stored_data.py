"""Data that the version b7eee1c has stored is read by every later one: its append-only files and its export.

tests/fixtures/b7eee1c/README.md says what is in them. Only HTTP and the command line are used here.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.conftest import Serve
from tests.fixtures.reading import FLAGS, read_all
from tests.support.serving import Serving, queuey

FIXTURE: Final = Path(__file__).parents[2] / "fixtures" / "b7eee1c"
EXPECTED: Final[dict[str, Any]] = json.loads((FIXTURE / "expected.json").read_text())
JOBS: Final[dict[str, dict[str, Any]]] = {name: job | {"released": 0} for name, job in EXPECTED["jobs"].items()}
"""What the version that wrote the data said of its jobs, with the field that is new since."""
IDS: Final = {name: str(job["id"]) for name, job in JOBS.items()}
NEW_FIELDS: Final = ("claimable", "claimable_age", "waiting_for_handler")
NEW_FIELDS_OF_JOBS: Final = (
    *("attempt", "last_error_attempt", "checkpoint", "snoozed", "tags", "metadata", "unique", "batch_key"),
)
STATUSES: Final = {"dead": "dead_letter"}
"""The first word of a job's name is its status, but for these."""
API: Final = (*FLAGS, "--roles", "api")
ALL: Final = (*FLAGS, "--queues", "default,hold,pull,work", "--drain-timeout", "0")
QUICK: Final = ("--lease", "500ms", "--reap-interval", "50ms", "--reap-delay-max", "0")
UNICODE: Final = {"ü": [12345678901234567890, "✓"]}
UNCOMPARED: Final = ("id", "started_ms", "ended_ms", "kind", "version")


@pytest.fixture
def stored(folder: Path) -> Path:
    """A data directory with the stored data."""
    shutil.copytree(FIXTURE / "appendonlydir", folder / "data" / "appendonlydir")
    return folder / "data"


def exported(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The header and end without times, and all other lines but checkpoints in an order of their own."""
    frame: dict[str, Any] = {}
    lines = []
    for text in path.read_text().splitlines():
        line = json.loads(text)
        if line["kind"] in ("header", "end"):
            frame |= {name: value for name, value in line.items() if name not in UNCOMPARED}
        elif line["kind"] == "key":
            line["until_ms"] = round(line["until_ms"], -4)  # it is read as a time to live
            lines.append(json.dumps(line, sort_keys=True))
        elif line["kind"] != "checkpoint":
            lines.append(json.dumps(line, sort_keys=True))
    return frame, sorted(lines)


def post(server: Serving, path: str, body: object = None, **headers: str) -> Any:
    reply = server.http.post(path, json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_the_fixture_has_a_job_in_every_state() -> None:
    named = {name: name.partition("-")[0] for name in JOBS if not name.startswith(("imported", "taken"))}
    assert {name: JOBS[name]["status"] for name in named} == {
        name: STATUSES.get(word, word) for name, word in named.items()
    }
    assert {"queued", "scheduled", "running", "succeeded", "dead", "cancelled"} == set(named.values())


def test_everything_is_read(serve: Serve, stored: Path) -> None:
    """With the role api alone, which neither promotes nor reaps nor trims: so it reads the same in any year."""
    server = serve(*API, data_dir=stored, key="dev")
    found = read_all(server.http, IDS, EXPECTED["first_event"])
    for name, job in JOBS.items():
        assert as_before(found["jobs"][name]) == job, name
        assert [*as_before(found["jobs"][name])] == [*job], "new fields come after those that were first"
    for part in found.keys() - {"jobs"}:
        assert as_before(found[part]) == EXPECTED[part], part
    assert server.stop() == 0


def as_before(value: Any) -> Any:
    """The value without the fields that queues and jobs have got since."""
    if isinstance(value, list):
        return [as_before(each) for each in value]
    if isinstance(value, dict):
        new = (*NEW_FIELDS, *(NEW_FIELDS_OF_JOBS if "attempts_log" in value else ()))
        return {name: as_before(each) for name, each in value.items() if name not in new}
    return value


def test_its_export_is_the_one_that_was_kept(stored: Path, folder: Path) -> None:
    done = queuey("export", "--data-dir", str(stored), "-o", str(folder / "export.ndjson"))
    assert done.returncode == 0, done.stderr
    assert exported(folder / "export.ndjson") == exported(FIXTURE / "export.ndjson")


def test_keys_are_held_and_leases_are_answered(serve: Serve, stored: Path) -> None:
    server = serve(*API, data_dir=stored, key="dev")
    for name in ("queued-everything", "succeeded-keyed", "taken", "imported-keyed", "queued-replayed"):
        key = JOBS[name]["dedupe_key"]
        assert post(server, "/v1/jobs", {"type": "echo", "dedupe_key": key}) == {
            "job_id": IDS[name],
            "deduplicated": True,
        }
    once = {"type": "echo", "queue": "hold", "payload": "once"}
    assert server.http.post("/v1/jobs", json=once, headers={"Idempotency-Key": "request-1"}).json() == {
        "job_id": IDS["queued-idempotent"],
        "deduplicated": True,
    }
    assert server.http.post(f"/v1/jobs/{IDS['dead-outrun']}/retry").status_code == 409  # `taken` holds its key
    first, second = EXPECTED["leases"]
    told = post(server, "/v1/leases/complete", {"id": first["id"], "token": first["token"], "result": UNICODE})
    assert told["status"] == "ok"
    assert (server.job(first["id"])["status"], server.job(first["id"])["result"]) == ("succeeded", UNICODE)
    assert post(server, "/v1/leases/release", {"id": second["id"], "token": second["token"]})["status"] == "ok"
    assert server.job(second["id"])["status"] == "queued"
    assert server.stop() == 0


def test_its_jobs_run(serve: Serve, stored: Path) -> None:
    """What is due or gone by now depends on the year, so jobs are brought into their lanes before all else runs."""
    server = serve(*API, data_dir=stored, key="dev")
    assert server.http.put(f"/v1/jobs/{IDS['dead-payload']}/payload", json={"a": 1, "b": 2}).status_code == 200
    for name in ("dead-payload", "scheduled-delay", "scheduled-reused"):
        assert post(server, f"/v1/jobs/{IDS[name]}/retry")["status"] == "queued"
    assert server.stop() == 0
    server = serve(*ALL, *QUICK, data_dir=stored, key="dev")
    waiting = [name for name, job in JOBS.items() if name.startswith("queued") and job["queue"] == "hold"]
    ended = {name: server.until(IDS[name]) for name in waiting}
    assert ended
    for name in ("queued-least", "scheduled-delay", "scheduled-reused"):
        ended[name] = server.until(IDS[name])
    for name, job in ended.items():
        assert (job["status"], job["result"]) == ("succeeded", JOBS[name]["payload"]), name
    assert server.until(IDS["dead-payload"])["result"] == 3
    given_back = server.until(IDS["running-second"], "scheduled", "queued", "dead_letter")
    assert given_back["crashes"] == 1  # and it waits: jobs that crashed run one at a time, and one of them sleeps
    assert server.until(IDS["running-flagged"])["status"] == "cancelled"
    unknown = server.until(IDS["queued-released"], "scheduled", "queued")  # nobody has a handler of its type
    assert (unknown["attempts"], unknown["errors"]) == (0, [])
    assert server.job(IDS["queued-paused"])["status"] == "queued"
    assert server.stop() == 0


def test_the_export_is_imported(serve: Serve, folder: Path) -> None:
    """Leases end by it, and what is due by now is moved to its lane."""
    done = queuey("import", str(FIXTURE / "export.ndjson"), "--data-dir", str(folder / "data"))
    assert done.returncode == 0, done.stderr
    server = serve(*API, key="dev")
    for name, before in JOBS.items():
        job = as_before(server.job(IDS[name]))
        if before["status"] == "running":
            assert job["status"] == ("cancelled" if name == "running-flagged" else "queued")
            assert job["payload"] == before["payload"]
        elif before["status"] == "scheduled":
            assert job["status"] in ("scheduled", "queued")
            assert without(job, "status", "run_at") == without(before, "status", "run_at")
        else:
            assert job == before, name
    queued = {IDS[name] for name, job in JOBS.items() if job["status"] == "queued"}
    listed = server.http.get("/v1/jobs", params={"limit": 500}).json()["jobs"]
    assert [each["id"] for each in listed if each["id"] in queued] == [e for e in EXPECTED["listed"] if e in queued]
    again = queuey("import", str(FIXTURE / "export.ndjson"), "--data-dir", str(folder / "data"))
    assert "0 jobs restored" in again.stderr
    assert server.stop() == 0


def without(job: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name not in names}

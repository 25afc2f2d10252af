"""The server against its own description: requests made of it, good and bad, each answered as it says.

Every operation gets 50 examples of what it declares and 50 of what it does not, always the same ones. A 5xx, a status,
media type, header or body that is not declared, and bad data that is taken: each fails.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from queuey.api.openapi.description import describe
from tests.e2e.api.test_access import ROUTES
from tests.e2e.conftest import QUICK
from tests.support.serving import Serving

EXAMPLES: Final = 50
KEY: Final = "key-of-the-tests-of-the-description"
CHECKS: Final = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
SCHEMA: Final = schemathesis.openapi.from_dict(
    msgspec.json.decode(msgspec.json.encode(describe(ROUTES))), config=schemathesis.Config()
)
OPERATIONS: Final[list[Any]] = [cast(Any, result).ok() for result in SCHEMA.get_all_operations()]
BATCHES: Final = {
    *("enqueue_jobs", "complete_leases", "fail_leases", "extend_leases", "release_leases"),
    *("checkpoint_leases", "log_leases"),
}
"""Operations that answer each item of a batch by itself: a bad one is no reason to refuse the request."""
STREAM: Final = "text/event-stream"
LONGEST_WAIT: Final = 0.02
"""Seconds: what the examples would have the server wait is cut to this."""
STATES: Final[tuple[dict[str, Any], ...]] = (
    {"job_type": "echo", "payload": {"text": "done soon"}},
    {"job_type": "dead", "payload": "dead soon"},
    {"job_type": "echo", "queue": "unserved"},
    {"job_type": "echo", "delay": 1000},
)
"""Jobs that operations on one job are tried on, beside ids that nobody has."""


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Serving]:
    """A server of these tests' own, since they may change anything on it."""
    with tempfile.TemporaryDirectory(prefix="queuey-") as folder:
        server = Serving(Path(folder, "data"), *QUICK, variables={"QUEUEY_API_KEY": KEY}, key=KEY)
        yield server
        server.close()


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["x-api-key"] = KEY
        yield session


def name_of(operation: Any) -> str:
    return f"{operation.method.upper()} {operation.path}"


def takes_anything(operation: Any) -> bool:
    """Whether there is something to get wrong."""
    return bool(operation.body) or any(True for _ in operation.iter_parameters())


CASES: Final = [
    pytest.param(operation, mode, id=f"{name_of(operation)} {mode.value}")
    for operation in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or takes_anything(operation)
]


def shorten(case: Case[Any]) -> None:
    """Cut a wait, wherever it stands, and end a stream at once."""
    holder: Any
    for holder in (case.query, case.body):
        if isinstance(holder, dict) and isinstance(holder.get("wait"), (int, float)):
            holder["wait"] = min(holder["wait"], LONGEST_WAIT)
    if STREAM in case.operation.definition.raw["responses"].get("200", {}).get("content", {}):
        case.query["seconds"] = 0


def is_batch(body: object) -> bool:
    return isinstance(body, list) or (isinstance(body, dict) and "jobs" in body)


def aim(case: Case[Any], server: Serving, turn: int) -> None:
    """Let it be about a job, a queue or a worker that there is, and about a lease that is held."""
    if "id" in case.path_parameters:
        case.path_parameters["id"] = server.submit(**STATES[turn % len(STATES)])
    if "name" in case.path_parameters:
        lease = {"queues": ["leased"], "worker": "puller"}
        assert server.http.post("/v1/leases", json=lease).status_code == 200
        case.path_parameters["name"] = "puller" if "/workers/" in case.path else "unserved"
    items: Any = case.body.get("jobs", [case.body]) if isinstance(case.body, dict) else []
    for item in items[:3]:
        if "token" in item:
            server.submit("echo", queue="leased")
            leased = server.http.post("/v1/leases", json={"queues": ["leased"]}).json()["jobs"][0]
            item |= {"id": leased["id"], "token": leased["token"]}


@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_every_answer_is_as_described(
    fuzzed: Serving, session: requests.Session, operation: Any, mode: GenerationMode
) -> None:
    good = mode is GenerationMode.POSITIVE
    batches = operation.definition.raw["operationId"] in BATCHES
    tried = 0

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Case[Any]) -> None:
        nonlocal tried
        tried += 1
        if good:
            shorten(case)
            if tried % 2:
                aim(case, fuzzed, tried // 2)
        refuses = not good and not (batches and is_batch(case.body))
        wanted = [*CHECKS, checks.negative_data_rejection] if refuses else CHECKS
        case.call_and_validate(base_url=fuzzed.url, session=session, checks=wanted)

    call()
    assert tried >= EXAMPLES or not takes_anything(operation)


def test_after_all_of_that_the_server_works_and_has_logged_no_error(fuzzed: Serving) -> None:
    assert fuzzed.http.get("/readyz").status_code == 200
    assert fuzzed.until(fuzzed.submit("echo", "still here"))["result"] == "still here"
    lines = [line for line in fuzzed.lines if '"job_dead"' not in line and '"pulled_job_failed"' not in line]
    assert [line for line in lines if '"level": "error"' in line] == []

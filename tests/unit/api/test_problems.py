from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from starlette.responses import Response

from queuey import errors
from queuey.api.http.problems import INTERNAL, TYPE_PREFIX, problem_response

DOCS = Path(__file__).parents[3] / "docs" / "errors.md"
SCOPE = {"method": "POST", "path": "/v1/jobs"}


def subclasses(root: type[errors.QueueyError]) -> Iterator[type[errors.QueueyError]]:
    yield root
    for child in root.__subclasses__():
        yield from subclasses(child)


def body_of(response: Response) -> dict[str, Any]:
    return msgspec.json.decode(bytes(response.body), type=dict[str, Any])


def test_a_problem_names_its_faults() -> None:
    faults: list[errors.Fault | errors.ParameterFault] = [
        errors.Fault("/a", "is bad"),
        errors.ParameterFault("limit", "is worse"),
    ]
    response = problem_response(errors.Invalid("a is bad.", faults), SCOPE)
    assert response.status_code == 422
    assert response.media_type == "application/problem+json"
    assert body_of(response) == {
        "type": "urn:queuey:problem:invalid",
        "title": "The request does not fit the schema",
        "status": 422,
        "detail": "a is bad.",
        "errors": [{"pointer": "/a", "detail": "is bad"}, {"parameter": "limit", "detail": "is worse"}],
    }


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (errors.Full("full", retry_after=7), "retry-after", "7"),
        (errors.StoreUnavailable("away"), "retry-after", "1"),
        (errors.OutcomeUnknown("lost", ["x"]), "retry-after", "1"),
        (errors.Unauthorized("who?"), "www-authenticate", 'Bearer realm="queuey"'),
        (errors.MethodNotAllowed("no", ["GET", "HEAD"]), "allow", "GET, HEAD"),
    ],
)
def test_a_problem_bears_the_headers_of_its_status(error: Exception, header: str, value: str) -> None:
    assert problem_response(error, SCOPE).headers[header] == value


def test_an_unknown_outcome_names_the_jobs() -> None:
    assert body_of(problem_response(errors.OutcomeUnknown("lost", ["x", "y"]), SCOPE))["job_ids"] == ["x", "y"]


def test_where_the_store_is_is_not_told() -> None:
    text = "The store cannot be reached: Error 111 connecting to 10.1.2.3:6379."
    for error in (errors.StoreUnavailable(text), errors.OutcomeUnknown(text, ["x"])):
        assert b"10.1.2.3" not in bytes(problem_response(error, SCOPE).body)


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyError("secret"), "internal-error"), (errors.ScriptFailed("secret"), "script-failed")],
)
def test_what_fails_inside_is_logged_once_and_not_told(error: Exception, code: str) -> None:
    with structlog.testing.capture_logs() as events:
        response = problem_response(error, SCOPE)
    assert body_of(response) == {
        "type": TYPE_PREFIX + code,
        "title": body_of(response)["title"],
        "status": 500,
        "detail": INTERNAL,
    }
    (event,) = events
    assert (event["event"], event["log_level"], event["exc_info"]) == ("request_failed", "error", error)


def test_what_the_caller_did_is_not_logged() -> None:
    with structlog.testing.capture_logs() as events:
        problem_response(errors.Invalid("bad"), SCOPE)
        problem_response(errors.StoreUnavailable("away"), SCOPE)
    assert events == []


def test_every_code_is_documented_with_its_status() -> None:
    rows = [line.split("|") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    documented = {row[1].strip(" `"): int(row[2]) for row in rows}
    abstract = {errors.RequestError, errors.StoreError}
    known = {
        error.code: error.status
        for error in subclasses(errors.QueueyError)
        if error not in abstract and not issubclass(error, errors.StartupError)
    }
    assert documented == known

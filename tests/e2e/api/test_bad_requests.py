"""What no route takes: each of them is refused by name, with a 4xx, whatever else the request has.

The cases are made of the API's description, so that a new route is among them: for every parameter and every field
values of another type, beyond the bounds, too many, and of absurd size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

from queuey.api.openapi.description import describe
from tests.e2e.api.test_access import ROUTES
from tests.e2e.conftest import QUICK
from tests.support.serving import Serving

KEY: Final = "key-of-the-tests-of-bad-requests"
HUGE: Final = 10**30
DOCUMENT: Final[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(describe(ROUTES)))
OPERATIONS: Final = [
    (method.upper(), path, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
]
JSON: Final = "application/json"


def ids(entries: list[tuple[str, str, Any]]) -> list[str]:
    return [f"{method} {path}" for method, path, _ in entries]


@pytest.fixture(scope="module")
def asked() -> Iterator[Serving]:
    """A server of these tests' own, for all that may be allowed."""
    with tempfile.TemporaryDirectory(prefix="queuey-") as folder:
        server = Serving(Path(folder, "data"), *QUICK, variables={"QUEUEY_API_KEY": KEY}, key=KEY)
        yield server
        server.close()


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without its reference, and without the null that it may allow."""
    if "$ref" in schema:
        return resolved(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    others = [member for member in schema.get("anyOf", []) if member != {"type": "null"}]
    return resolved(others[0]) if len(others) == 1 else schema


def body_of(operation: dict[str, Any]) -> dict[str, Any]:
    """The schema of a single object, where a batch may come instead."""
    schema: dict[str, Any] = operation["requestBody"]["content"][JSON]["schema"]
    return resolved(schema.get("anyOf", [schema])[0])


def beyond(schema: dict[str, Any]) -> Iterator[float]:
    """Numbers outside the bounds."""
    if "minimum" in schema:
        yield schema["minimum"] - 1
    if "exclusiveMinimum" in schema:
        yield schema["exclusiveMinimum"]
    if "maximum" in schema:
        yield schema["maximum"] + 1
        yield HUGE


def wrong_values(schema: dict[str, Any]) -> list[Any]:
    """JSON values that the schema does not take."""
    schema = resolved(schema)
    if "enum" in schema:
        return ["nope", 1, []]
    match schema.get("type"):
        case "string":
            long = ["x" * 100_000] if schema.keys() & {"pattern", "maxLength"} else []
            form = ["yesterday", "2030-01-01T00:00:00"] if schema.get("format") == "date-time" else []
            return [1, [], {}, *form, *long, *(["no name"] if "pattern" in schema else [])]
        case "integer":
            return ["1", 1.5, True, [], *beyond(schema)]
        case "number":
            return ["1", True, [], *beyond(schema)]
        case "boolean":
            return ["yes", 1]
        case "array":
            most = schema.get("maxItems", 10_000)
            good = (["nope"] * (most + 1),) if "maxItems" in schema else ()
            return ["x", 1, {"a": 1}, *good]
        case "object":
            return ["x", 1, [1], {"nope": 1}] if schema.get("additionalProperties") is False else ["x", 1, [1]]
    return []


def wrong_texts(schema: dict[str, Any]) -> list[str]:
    """Texts that a parameter with this schema does not take."""
    schema = resolved(schema)
    if schema.get("type") in ("integer", "number"):
        return ["", "x", "0x10", "nan", "-", "1 1", "٣", *(str(number) for number in beyond(schema))]
    if "enum" in schema:
        return ["", "nope", "null"]
    if "pattern" in schema:
        return ["", "../x", "a b", "x" * 100, "%00"]
    return ["", "x" * 2000] if "maxLength" in schema else []


def call(
    server: Serving, method: str, path: str, query: Sequence[tuple[str, str]] | None, content: bytes | None = None
) -> httpx.Response:
    """About a job that waits, or a queue that there is, which is no worker's name."""
    job_id = server.submit("echo", queue="unserved")
    path = path.replace("{id}", job_id).replace("{name}", "unserved")
    headers = {"content-type": JSON} if content is not None else None
    params = None if query is None else httpx.QueryParams([*query])
    return server.http.request(method, path, params=params, content=content, headers=headers)


def refused(reply: httpx.Response, place: str, name: str) -> None:
    """Assert that it is a problem of the client's that names the parameter or the field."""
    assert 400 <= reply.status_code < 500, (reply.status_code, reply.text)
    assert reply.headers["content-type"] == "application/problem+json"
    assert len(reply.content) < 2000
    assert reply.status_code in (413, 422), reply.text
    named = [fault[place] for fault in reply.json()["errors"]]
    assert all(given == name or given.startswith(f"{name}/") for given in named), (name, reply.text)
    assert named


def good_body(operation: dict[str, Any]) -> bytes | None:
    content = operation.get("requestBody", {}).get("content")
    return None if content is None else msgspec.json.encode(content[JSON]["example"])


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=ids(OPERATIONS))
def test_an_unknown_parameter(asked: Serving, method: str, path: str, operation: dict[str, Any]) -> None:
    if not operation.get("security", True) and path != "/v1/me":  # a prober may add what it likes
        assert call(asked, method, path, [("nope", "1")]).status_code == 200
        return
    for name in ("nope", "Limit", "limit[]", "x" * 64, ""):
        refused(call(asked, method, path, [(name, "1")], good_body(operation)), "parameter", name)


WITH_QUERY: Final = [
    entry for entry in OPERATIONS if "query" in [wanted["in"] for wanted in entry[2].get("parameters", [])]
]


@pytest.mark.parametrize(("method", "path", "operation"), WITH_QUERY, ids=ids(WITH_QUERY))
def test_values_that_a_parameter_does_not_take(
    asked: Serving, method: str, path: str, operation: dict[str, Any]
) -> None:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            name = parameter["name"]
            for text in wrong_texts(parameter["schema"]):
                refused(call(asked, method, path, [(name, text)], good_body(operation)), "parameter", name)
            twice = [(name, "1"), (name, "1")]
            refused(call(asked, method, path, twice, good_body(operation)), "parameter", name)


WITH_BODY: Final = [entry for entry in OPERATIONS if "requestBody" in entry[2]]
BATCHES: Final = [entry for entry in WITH_BODY if isinstance(entry[2]["requestBody"]["content"][JSON]["example"], list)]
SINGLE: Final = [
    entry for entry in WITH_BODY if entry not in BATCHES and entry[2]["requestBody"]["content"][JSON]["schema"]
]
"""Without those that take any JSON."""


def fields(operation: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name, wrong value) of each field of a body; and one that is not known."""
    yield "nope", 1
    for name, schema in body_of(operation)["properties"].items():
        for value in wrong_values(schema):
            yield name, value


@pytest.mark.parametrize(("method", "path", "operation"), SINGLE, ids=ids(SINGLE))
def test_values_that_a_field_does_not_take(asked: Serving, method: str, path: str, operation: dict[str, Any]) -> None:
    good = operation["requestBody"]["content"][JSON]["example"]
    for name, value in fields(operation):
        reply = call(asked, method, path, [], msgspec.json.encode({**good, name: value}))
        refused(reply, "pointer", f"/{name}")


@pytest.mark.parametrize(("method", "path", "operation"), SINGLE, ids=ids(SINGLE))
def test_a_body_that_is_no_such_object(asked: Serving, method: str, path: str, operation: dict[str, Any]) -> None:
    needed = [b""] if operation["requestBody"]["required"] else []
    for body in (*needed, b"{", b"nope", b"\xff", b"[" * 10_000, b"{" * 10_000, b'{"a":' + b"9" * 5000 + b"}"):
        reply = call(asked, method, path, [], body)
        assert reply.status_code in (400, 422), (body[:20], reply.text)
    for body in (b"null", b"1", b"[]", b'"text"', b"true"):
        refused(call(asked, method, path, [], body), "pointer", "")
    for name in body_of(operation).get("required", []):
        example = operation["requestBody"]["content"][JSON]["example"]
        body = msgspec.json.encode({field: value for field, value in example.items() if field != name})
        refused(call(asked, method, path, [], body), "pointer", f"/{name}")
    big = msgspec.json.encode({"nope": "x" * 1_000_001})
    assert call(asked, method, path, [], big).status_code == 413


@pytest.mark.parametrize(("method", "path", "operation"), BATCHES, ids=ids(BATCHES))
def test_in_a_batch_each_item_is_refused_by_itself(
    asked: Serving, method: str, path: str, operation: dict[str, Any]
) -> None:
    content = operation["requestBody"]["content"][JSON]
    good = content["example"][0]
    properties = resolved(content["schema"]["items"])["properties"]
    for name, schema in properties.items():
        for value in wrong_values(schema):
            reply = call(asked, method, path, [], msgspec.json.encode([good, {**good, name: value}]))
            if reply.status_code == 413:
                continue
            assert reply.status_code == 200
            taken, other = reply.json()["results"]
            assert "error" not in taken
            named = [fault["pointer"] for fault in other["error"]["errors"]]
            assert all(pointer == f"/{name}" or pointer.startswith(f"/{name}/") for pointer in named)
            assert named
    assert call(asked, method, path, [], msgspec.json.encode([good] * 1001)).status_code == 413
    for body in (b"null", b"1", b"{}", b'"text"'):
        refused(call(asked, method, path, [], body), "pointer", "")


ALONE_OR_MANY: Final = [entry for entry in SINGLE if "anyOf" in entry[2]["requestBody"]["content"][JSON]["schema"]]


@pytest.mark.parametrize(("method", "path", "operation"), ALONE_OR_MANY, ids=ids(ALONE_OR_MANY))
def test_among_many_each_is_refused_by_itself(
    asked: Serving, method: str, path: str, operation: dict[str, Any]
) -> None:
    good = operation["requestBody"]["content"][JSON]["example"]
    for name, value in fields(operation):
        wrong = {**good, name: value}
        reply = call(asked, method, path, [], msgspec.json.encode({"jobs": [wrong, wrong]}))
        assert reply.status_code in (200, 413), reply.text
        for result in reply.json().get("results", []):
            assert 400 <= result["error"]["status"] < 500, reply.text
    bodies: list[dict[str, Any]] = [{"jobs": [good], "nope": 1}, {"jobs": []}, {"jobs": [good] * 501}, {"jobs": good}]
    for body in bodies:
        reply = call(asked, method, path, [], msgspec.json.encode(body))
        assert reply.status_code == 413 or reply.json()["errors"], reply.text
        assert 400 <= reply.status_code < 500


WITHOUT_BODY: Final = [entry for entry in OPERATIONS if "requestBody" not in entry[2] and entry[0] != "GET"]


@pytest.mark.parametrize(("method", "path", "operation"), WITHOUT_BODY, ids=ids(WITHOUT_BODY))
def test_a_body_where_none_is_taken(asked: Serving, method: str, path: str, operation: dict[str, Any]) -> None:
    for body in (b'{"nope":1}', b"[]", b"1", b"nope"):
        reply = call(asked, method, path, [], body)
        assert reply.status_code == 422, reply.text
        assert reply.json()["errors"][0]["pointer"] == ""
    assert call(asked, method, path, [], b"x" * 1_000_001).status_code == 413
    for body in (b"", b"{}", b" {} "):
        reply = call(asked, method, path, [], body)
        assert reply.status_code in (200, 204, 404, 409), reply.text


YEAR: Final = 365 * 24 * 3600
NAMED: Final[dict[str, tuple[str, str, Any, int, str]]] = {
    "a lease of no time": ("POST", "/v1/leases", {"queues": ["default"], "lease": 0}, 422, "/lease"),
    "a lease of a year": ("POST", "/v1/leases", {"queues": ["default"], "lease": YEAR}, 422, "/lease"),
    "a lease of no jobs": ("POST", "/v1/leases", {"queues": ["default"], "max": 0}, 422, "/max"),
    "a lease of too many jobs": ("POST", "/v1/leases", {"queues": ["default"], "max": 501}, 422, "/max"),
    "a long poll of an hour": ("POST", "/v1/leases", {"queues": ["default"], "wait": 3600}, 422, "/wait"),
    "an odd claim id": ("POST", "/v1/leases", {"queues": ["default"], "claim_id": "a b"}, 422, "/claim_id"),
    "a wait of an hour for a job": ("GET", "/v1/jobs/{id}?wait=3600", None, 422, "wait"),
    "a wait of an hour for a new job": ("POST", "/v1/jobs?wait=3600", {"type": "echo"}, 422, "wait"),
    "a page too large": ("GET", "/v1/jobs?limit=501", None, 422, "limit"),
    "a cursor of no list": ("GET", "/v1/jobs?cursor=bm9wZQ", None, 422, "cursor"),
    "a retention of centuries": ("POST", "/v1/jobs", {"type": "echo", "retention": 1e10}, 422, "/retention"),
    "expired at once": ("POST", "/v1/jobs", {"type": "echo", "expires_in": 0}, 422, "/expires_in"),
}


@pytest.mark.parametrize(("method", "path", "body", "status", "place"), NAMED.values(), ids=NAMED.keys())
def test_what_is_beyond_a_bound_is_named(
    asked: Serving, method: str, path: str, body: Any, status: int, place: str
) -> None:
    reply = call(asked, method, path, None, None if body is None else msgspec.json.encode(body))
    assert reply.status_code == status, reply.text
    assert [fault.get("pointer", fault.get("parameter")) for fault in reply.json()["errors"]] == [place]


def test_a_token_of_nobody_and_a_million_of_them(asked: Serving) -> None:
    foreign = {"id": asked.submit("echo", queue="unserved"), "token": "1.AAAAAAAAAAAA"}
    for verb, rest in (
        ("complete", {"result": 1}),
        ("fail", {"error": "no"}),
        ("extend", {"lease": 30}),
        ("release", {}),
    ):
        alone = asked.http.post(f"/v1/leases/{verb}", json=foreign | rest)
        assert (alone.status_code, alone.json()["type"]) == (409, "urn:queuey:problem:lost-lease")
        many = asked.http.post(f"/v1/leases/{verb}", json={"jobs": [foreign | rest] * 3})
        assert (many.status_code, many.json()["results"]) == (200, [{"id": foreign["id"], "status": "lost"}] * 3)
    million = b'{"jobs":[' + b",".join([msgspec.json.encode(foreign)] * 1_000_000) + b"]}"
    refused = asked.http.post("/v1/leases/release", content=million, headers={"content-type": JSON})
    assert refused.status_code == 413


def test_a_cursor_of_another_list(asked: Serving) -> None:
    for _ in range(3):
        asked.submit("echo", queue="listed", delay=1000)
    page = asked.http.get("/v1/jobs", params={"queue": "listed", "limit": 1}).json()
    for query in (
        {"queue": "unserved"},
        {},
        {"queue": "listed", "status": "scheduled"},
        {"queue": "listed", "type": "echo"},
    ):
        reply = asked.http.get("/v1/jobs", params={**query, "cursor": page["next"]})
        assert reply.status_code == 422
        assert reply.json()["errors"][0]["parameter"] == "cursor"


def test_after_all_of_that_the_server_works_and_has_logged_no_error(asked: Serving) -> None:
    assert asked.until(asked.submit("echo", "still here"))["result"] == "still here"
    assert [line for line in asked.lines if '"level": "error"' in line] == []

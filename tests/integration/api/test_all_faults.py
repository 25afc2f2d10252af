"""An error names every fault of a request. The cases are made from the API's description."""

from __future__ import annotations

from typing import Any, Final

import httpx
import pytest

from queuey.protocol.schema_faults import MAX_FAULTS, MAX_LOOKS
from tests.contracts.test_openapi import DOCUMENT
from tests.integration.api.described import (
    ANY_JSON,
    JSON_OF,
    MAPS,
    ONE_OF,
    Place,
    accepts,
    as_sent,
    bodies,
    good,
    job_with,
    method_of,
    named,
    places,
    prepare,
    send,
)
from tests.support.http import UNKNOWN_ID, ApiRig, problem
from tests.support.store import Rig

DEV: Final = {"x-api-key": "dev"}
PATHS: Final = sorted(bodies().keys() - {ANY_JSON})


def is_leaf(place: Place) -> bool:
    return not any(other.path == place.path and other.pointer.startswith(f"{place.pointer}/") for other in places())


def leaves(path: str) -> list[Place]:
    """The places of a body that are no objects or arrays, and that are not any JSON. Those of a map are one place."""
    found = [place for place in places() if place.path == path and place.schema and is_leaf(place)]
    return [place for place in found if not place.map]


def maps(path: str) -> list[str]:
    """The fields of a body that are maps."""
    return [place.pointer for place in places() if place.path == path and place.pointer in MAPS]


def wrong(schema: Any) -> Any:
    return "?" if accepts(schema, True) else True


def all_wrong(path: str) -> dict[str, Any]:
    """The body of one job whose every field is wrong, with an unknown one."""
    job: dict[str, Any] = {"nope": 1}
    for place in leaves(path):
        top = "/" + place.pointer.split("/")[1]
        one = job_with(place, wrong(place.schema))[top[1:]]
        if top in JSON_OF and top[1:] in job:
            merge(job[top[1:]], one, place.pointer.split("/")[2:])
        else:
            job[top[1:]] = one
    if path == "/v1/leases/checkpoint":
        job["checkpoint"] = 1  # required, and any value is right
    for pointer in maps(path):
        *steps, last = pointer.split("/")[1:]
        (job[steps[0]] if steps else job)[last] = {"mail": 5}
    return job


def merge(into: Any, one: Any, steps: list[str]) -> None:
    """Set what is at the end of these steps as in the other value."""
    for text in steps[:-1]:
        step = int(text) if text.isdigit() else text
        into, one = into[step], one[step]
    last = int(steps[-1]) if steps[-1].isdigit() else steps[-1]
    into[last] = one[last]


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("path", PATHS)
async def test_every_wrong_field_of_a_body_is_named(rig: Rig, api: ApiRig, path: str, many: bool) -> None:
    sent = as_sent(path, all_wrong(path), many=many and path.startswith("/v1/leases/"))
    await prepare(api, path)
    async with rig.unchanged():
        response = await send(api, path, json=sent)
    expected = {place.pointer for place in leaves(path)} | {*maps(path), "/nope"}
    found = named(response.json())
    assert set(found) == expected or (set(found) < expected and len(expected) > MAX_FAULTS)
    assert len(found) == min(len(expected), MAX_FAULTS)


@pytest.mark.parametrize("path", PATHS)
async def test_every_missing_field_is_named_too(api: ApiRig, path: str) -> None:
    required = [place.pointer for place in places() if place.path == path and place.is_required]
    top = [pointer for pointer in required if pointer.count("/") == 1]
    await prepare(api, path)
    response = await send(api, path, json=as_sent(path, {"nope": 1, **ONE_OF.get(path, {})}))
    assert named(response.json()) == ["/nope", *top]


QUERIES: Final = [
    (method.upper(), path, [one["name"] for one in operation["parameters"] if one["in"] == "query"])
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if any(one["in"] == "query" for one in operation.get("parameters", ()))
]
FREE: Final = {"cursor": "", "dedupe_key": "", "q": "", "error": ""}
"""Wrong values of parameters that take most texts."""


@pytest.mark.parametrize(("method", "path", "names"), QUERIES, ids=[f"{one[0]} {one[1]}" for one in QUERIES])
async def test_every_wrong_parameter_is_named(api: ApiRig, method: str, path: str, names: list[str]) -> None:
    url = path.replace("{id}", await api.submit()).replace("{name}", "mail")
    query = httpx.QueryParams([("nope", "1"), *((name, FREE.get(name, "?")) for name in names), ("nope2", "1")])
    takes_body = path in bodies() and path != ANY_JSON and method == method_of(path)
    body = good(path) if takes_body else None
    response = await api.http.request(method, url, params=query, json=body, headers=DEV)
    found = problem(response, 422, "invalid")
    assert sorted(named(found)) == sorted([*names, "nope", "nope2"])
    assert found["detail"].startswith("Unknown parameter 'nope'.")


async def test_body_query_and_headers_of_a_new_job_are_in_one_error(api: ApiRig) -> None:
    body = {"type": "a b", "id": UNKNOWN_ID, "dedupe_key": "k"}
    headers = {b"idempotency-key": "é".encode()}
    response = await api.http.post("/v1/jobs?wait=x&foo=1", json=body, headers=headers)
    found = problem(response, 422, "invalid")
    assert named(found) == ["/type", "/dedupe_key", "/id", "foo", "wait", "Idempotency-Key"]
    assert found["detail"].startswith("type must be")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"delay": 1, "run_at": "2027-01-01T00:00:00Z", "id": "x"}, ["/delay", "/run_at", "/id"]),
        ({"dedupe_key": "", "id": "x", "priority": "x"}, ["/priority", "/dedupe_key", "/id"]),
        ({"delay": 60, "expires_in": 5, "queue": ""}, ["/queue", "/expires_in"]),
        ({"delay": -1, "expires_in": 5}, ["/delay"]),
        ({"id": UNKNOWN_ID, "dedupe_key": "k", "max_attempts": 0}, ["/max_attempts", "/id"]),
        ({"id": UNKNOWN_ID, "dedupe_key": "", "max_attempts": 0}, ["/max_attempts", "/dedupe_key"]),
        ({"payload": "x" * 5_000, "timeout": 0}, ["/timeout"]),
    ],
)
async def test_what_the_schema_cannot_check_is_named_too(
    api: ApiRig, fields: dict[str, Any], expected: list[str]
) -> None:
    for path in ("/v1/jobs", "/v1/jobs/batch"):
        response = await api.http.post(path, json=as_sent(path, {"type": "t", **fields}))
        assert named(response.json()) == expected


async def test_a_field_that_another_fault_hides_is_not_blamed(api: ApiRig) -> None:
    """The queues that type_queues may name are not known."""
    body: dict[str, Any] = {"queues": ["a b"], "types": ["t"], "type_queues": {"mail": ["t"]}}
    response = await api.http.post("/v1/leases", json=body)
    assert named(problem(response, 422, "invalid")) == ["/queues/0"]
    body = {"queues": ["mail"], "types": ["t"], "type_queues": {"other": ["t"]}, "max": 0}
    response = await api.http.post("/v1/leases", json=body)
    assert named(problem(response, 422, "invalid")) == ["/max", "/type_queues"]


async def test_each_entry_that_names_a_type_again_is_named(api: ApiRig) -> None:
    room = [{"jobs": 1, "types": ["t"]}] * 3
    response = await api.http.post("/v1/leases", json={"room": room})
    assert named(problem(response, 422, "invalid")) == ["/room/1/types", "/room/2/types"]


async def test_a_batch_of_many_wrong_jobs_has_a_bound(api: ApiRig) -> None:
    jobs = [{"type": "a b", "delay": -1}] * (MAX_LOOKS + 5)
    response = await api.http.post("/v1/jobs/batch", json=jobs)
    faults = [len(item["error"]["errors"]) for item in response.json()["results"]]
    assert faults == [2] * MAX_LOOKS + [1] * 5
    items = [{"id": "x", "token": "x"}] * (MAX_LOOKS + 5)
    response = await api.http.post("/v1/leases/release", json={"jobs": items})
    assert [len(item["error"]["errors"]) for item in response.json()["results"]] == faults

"""The places in the JSON bodies of every route, made from the API's description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import httpx
from openapi_schema_validator import OAS31Validator

from tests.contracts.test_openapi import DOCUMENT
from tests.e2e.api.test_access import BODIES
from tests.support import routes
from tests.support.http import ApiRig

ANY_JSON: Final = "/v1/jobs/{id}/payload"
"""The route whose body is any JSON value."""
SCHEMAS: Final[Mapping[str, Any]] = DOCUMENT["components"]["schemas"]
JSON_OF: Final[Mapping[str, Any]] = {
    "/backoff": {"base": 1},
    "/debounce": {"key": "k", "wait": 1},
    "/batch": {"key": "k", "max_size": 2, "max_wait": 5},
    "/error": {"message": "m"},
    "/exclude": ["2026-12-25"],
    "/job": {"type": "t", "queue": "mail", "backoff": {"base": 1}, "metadata": {"mail": "t"}, "tags": ["t"]},
    "/ids": ["0" * 28],
    "/lines": [{"text": "t"}],
    "/metadata": {"mail": "t"},
    "/progress": {"done": 1},
    "/queues": ["mail"],
    "/room": [{"jobs": 1, "types": ["t"]}],
    "/status": ["queued"],
    "/tags": ["t"],
    "/throttle": {"key": "k", "per": 1},
    "/type_queues": {"mail": ["t"]},
    "/types": ["t"],
    "/unique": {"key": "k"},
}
"""A valid value of each field at the top that has an object or an array."""
MAPS: Final = ("/metadata", "/type_queues", "/job/metadata")
"""Those of them that have any keys. An error names them, not the values in them."""
REFUSED: Final = ("/job/batch", "/job/debounce", "/job/throttle", "/job/unique")
"""Objects that the job of a schedule cannot have, so nothing inside them is looked at."""
BESIDE: Final[Mapping[str, Any]] = {
    "/every": {"cron": "@daily"},
    "/type_queues": {"types": ["t"], "queues": ["mail"]},
}
"""What else a body needs with this field, or without it."""
ONE_OF: Final[Mapping[str, Any]] = {
    **{path: {"every": 60} for path in ("/v1/schedules/preview", "/v1/schedules/{name}")},
    **{path: {"all": True} for path in ("/v1/jobs/cancel", "/v1/jobs/retry", "/v1/jobs/delete")},
}
"""A field of which the body of a route needs one of several."""


class Place(NamedTuple):
    """A field or an item in the body of a route. `schema`: of its value; `is_required`: whether it must be there.

    An item of an array is its first one, and a value of a map that of the key `mail`.
    """

    path: str
    pointer: str
    schema: Any
    is_required: bool

    def __str__(self) -> str:
        return f"{self.path} {self.pointer}"

    @property
    def map(self) -> str | None:
        """The pointer of the map that it is in."""
        return next((pointer for pointer in MAPS if self.pointer.startswith(f"{pointer}/")), None)


def bodies() -> dict[str, Any]:
    """The schema of each JSON object that a route takes, by path."""
    found = {}
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            if "requestBody" in operation:
                found[path] = operation["requestBody"]["content"]["application/json"]["schema"]
    return found


def method_of(path: str) -> str:
    """The method of a path that takes a JSON object."""
    return next(
        str(method).upper() for method, operation in DOCUMENT["paths"][path].items() if "requestBody" in operation
    )


async def prepare(api: ApiRig, path: str) -> None:
    """Make a queue of the name `mail`, and a schedule of that name if the route is about one."""
    if path.startswith("/v1/schedules/{name}"):
        await api.broker.replicas.register()  # which opens the features of an empty store
        assert (await api.http.put("/v1/schedules/mail", json=routes.SCHEDULE)).is_success
    await api.submit(queue="mail")


async def send(api: ApiRig, path: str, **sent: Any) -> httpx.Response:
    """Send a body to a route, about the queue or the schedule `mail`."""
    headers = {"x-api-key": "dev", "content-type": "application/json"}
    return await api.http.request(method_of(path), path.replace("{name}", "mail"), headers=headers, **sent)


def accepts(schema: Any, value: object) -> bool:
    return bool(OAS31Validator({**schema, "components": DOCUMENT["components"]}).is_valid(value))


def places() -> Iterator[Place]:
    """Yield each place in the body of each route, or in one job of it; not those in a value that is any JSON."""
    for path, schema in bodies().items():
        form = schema.get("items") or schema.get("anyOf", [schema])[0]  # of one job
        yield from _inside(path, "", form)


def _inside(path: str, at: str, schema: Any) -> Iterator[Place]:
    for form in map(_resolved, schema.get("anyOf", [schema])):
        for name, inner in form.get("properties", {}).items():
            yield from _at(Place(path, f"{at}/{name}", inner, name in form.get("required", ())))
        if "items" in form:
            yield from _at(Place(path, f"{at}/0", form["items"], False))
        if isinstance(values := form.get("additionalProperties"), dict):
            yield from _at(Place(path, f"{at}/mail", values, False))


def _at(place: Place) -> Iterator[Place]:
    yield place
    if place.pointer not in REFUSED:
        yield from _inside(place.path, place.pointer, place.schema)


def _resolved(schema: Any) -> Any:
    return SCHEMAS[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


ABSENT: Final = object()


def job_with(place: Place, value: object) -> Any:
    """The body of one job, or of a route without jobs, with a value at a place, or without it."""
    top = "/" + place.pointer.split("/")[1]
    job = {**good(place.path), **BESIDE.get(top, {})}
    if top != place.pointer:
        job[top[1:]] = _copy(JSON_OF[top])
    inside: Any = job
    *steps, last = [int(step) if step.isdigit() else step for step in place.pointer.split("/")[1:]]
    for step in steps:
        inside = inside[step]
    if value is ABSENT:
        inside.pop(last, None)
    else:
        inside[last] = value
    return job


def good(path: str) -> dict[str, Any]:
    """A valid body of one job, or of a route without jobs."""
    body = BODIES[path]
    one = body[0] if isinstance(body, list) else body.get("jobs", [body])[0]
    return {name: "0" * 28 if inner == "{id}" else inner for name, inner in one.items()}


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def as_sent(path: str, job: Any, *, many: bool = False) -> Any:
    """The body for a route, of one job or with it as the only one of several."""
    if "items" in bodies()[path]:
        return [job]
    return {"jobs": [job]} if many else job


def named(answer: Any) -> list[str]:
    """The pointers or parameters of the faults in an answer, or of the first job of a batch."""
    found = answer
    if "errors" not in answer:
        found = (answer.get("results") or answer.get("jobs") or [{}])[0].get("error") or {}
    return [fault.get("pointer", fault.get("parameter")) for fault in found.get("errors", ())]

"""What null means in the fields of every JSON body. The cases are made from the API's description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from openapi_schema_validator import OAS31Validator

from queuey.client.client import Client
from tests.contracts.test_openapi import DOCUMENT
from tests.e2e.api.test_access import BODIES
from tests.support.dead import die
from tests.support.http import ApiRig, problem
from tests.support.store import Rig

DEV: Final = {"x-api-key": "dev"}
ANY_JSON: Final = "/v1/jobs/{id}/payload"
"""The route whose body is any JSON value."""
DESTRUCTIVE: Final = ("/v1/dlq/delete", "/v1/dlq/replay", "/v1/queues/{name}/purge")
SCHEMAS: Final[Mapping[str, Any]] = DOCUMENT["components"]["schemas"]


def bodies() -> dict[str, Any]:
    """The schema of each JSON object that a route takes, by path."""
    found = {}
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            if "requestBody" in operation:
                found[path] = operation["requestBody"]["content"]["application/json"]["schema"]
    return found


def fields() -> Iterator[tuple[str, str, Any]]:
    """(path, field, schema) of each field at the top of a body, or of one job of a batch."""
    for path, schema in bodies().items():
        for form in schema.get("anyOf", [schema]):
            name = form.get("items", form).get("$ref", "").rpartition("/")[2]
            if name.endswith("Batch"):
                continue
            for field, inner in SCHEMAS[name]["properties"].items() if name else ():
                yield path, field, inner


FIELDS: Final = [*fields()]


def accepts(schema: Any, value: object) -> bool:
    return bool(OAS31Validator({**schema, "components": DOCUMENT["components"]}).is_valid(value))


def sent(path: str, field: str, value: object) -> Any:
    body = BODIES[path]
    one = body[0] if isinstance(body, list) else body.get("jobs", [body])[0]
    one = {name: "0" * 28 if inner == "{id}" else inner for name, inner in one.items()}
    changed = {**one, field: value}
    return [changed] if isinstance(body, list) else changed


def named(answer: Any) -> list[str]:
    """The pointers of the faults in an answer, also of the first job of a batch or of leases."""
    found = (
        answer if "errors" in answer else (answer.get("results") or answer.get("jobs") or [{}])[0].get("error") or {}
    )
    return [fault["pointer"] for fault in found.get("errors", ())]


def test_the_description_has_fields_of_every_route_with_a_body() -> None:
    assert {path for path, _, _ in FIELDS} == bodies().keys() - {ANY_JSON}
    assert bodies().keys() >= set(DESTRUCTIVE)


@pytest.mark.parametrize(("path", "field", "schema"), FIELDS, ids=[f"{path} {field}" for path, field, _ in FIELDS])
async def test_null_is_accepted_where_the_description_allows_it(
    api: ApiRig, path: str, field: str, schema: Any
) -> None:
    await api.submit(queue="mail")
    url = path.replace("{name}", "mail")
    response = await api.http.post(url, json=sent(path, field, None), headers=DEV)
    faults = [pointer for pointer in named(response.json()) if pointer.endswith(f"/{field}")]
    if accepts(schema, None):
        assert faults == []
        assert response.status_code < 500
    else:
        assert len(faults) == 1, response.text
        assert "not null" in response.text


@pytest.mark.parametrize(
    ("path", "field"), [(path, field) for path, field, _ in FIELDS if path in DESTRUCTIVE and field != "rate"], ids=str
)
@pytest.mark.parametrize("value", [None, "", [], {}], ids=repr)
async def test_a_lost_value_never_matches_all(rig: Rig, api: ApiRig, path: str, field: str, value: object) -> None:
    dead = await die(rig, queue="mail")
    waiting = await api.submit(queue="mail")
    response = await api.http.post(path.replace("{name}", "mail"), json={field: value}, headers=DEV)
    (fault,) = problem(response, 422, "invalid")["errors"]
    assert fault["pointer"] == f"/{field}"
    if value is None:
        assert fault["detail"].endswith(", not null; leave it out instead")
    assert (await api.job(dead))["status"] == "dead_letter"
    assert (await api.job(waiting))["status"] == "queued"


async def test_a_rate_of_null_is_accepted_since_older_clients_send_it(rig: Rig, api: ApiRig) -> None:
    await die(rig, queue="mail")
    response = await api.http.post("/v1/dlq/replay", json={"queue": "mail", "rate": None}, headers=DEV)
    assert response.json()["done"] == 1


async def test_a_client_sends_no_null_for_an_option_that_is_not_given(rig: Rig, api: ApiRig) -> None:
    await die(rig, queue="mail")
    async with Client("http://127.0.0.1", api_key="dev", transport=api.http._transport) as client:
        assert (await client.dlq_replay()).done == 1
        assert (await client.dlq_delete()).done == 0
        assert (await client.purge("mail")).cancelled == 1
        await client.pause("mail")

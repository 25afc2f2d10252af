"""The API's description against the routes, both ways; and its examples against its schemas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator
from starlette.routing import Route

from queuey.api.http.operations import Operation
from queuey.api.openapi.description import describe
from queuey.api.openapi.v3_0 import downgraded
from tests.e2e.api.test_access import API

DOCUMENT: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(describe(API.endpoints)))
REFERENCE = Path(__file__).parents[2] / "docs" / "http.md"
OPERATIONS = [
    (f"{method} {path}", operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
]
each_operation = pytest.mark.parametrize(
    "operation", [op for _, op in OPERATIONS], ids=[name for name, _ in OPERATIONS]
)


def test_it_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_route_is_in_it_and_every_operation_is_a_route() -> None:
    routed = set()
    for route in API.router.routes:
        assert isinstance(route, Route)
        routed |= {(method, route.path) for method in route.app.methods}  # type: ignore[attr-defined]
    described = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    hidden = {(endpoint.method, endpoint.path) for endpoint in API.endpoints if not endpoint.doc.shown}
    assert all(path == "/docs" or path.startswith(("/docs/", "/ui/")) for _, path in hidden)
    assert not described & hidden
    assert described | hidden == routed
    assert routed == {(endpoint.method, endpoint.path) for endpoint in API.endpoints}


def test_it_is_valid_openapi_3_0_for_tools_that_know_no_3_1() -> None:
    older = downgraded(DOCUMENT)
    OpenAPIV30SpecValidator(older).validate()
    assert older["paths"].keys() == DOCUMENT["paths"].keys()
    assert older["components"]["schemas"]["JobRequest"]["properties"]["dedupe_ttl"] == {
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 31536000,
        "nullable": True,
    }


def test_two_operations_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match="two operations are named"):
        describe([*API.endpoints, API.endpoints[0]])


@each_operation
def test_each_says_what_it_is_and_all_that_it_may_answer(operation: dict[str, Any]) -> None:
    assert operation["operationId"].isidentifier()
    assert operation["summary"]
    assert not operation["summary"].endswith(".")
    statuses = set(operation["responses"])
    assert {"400", "422", "500", "503"} <= statuses
    assert ({"401", "403"} <= statuses) == bool(operation["security"])
    for parameter in operation.get("parameters", []):
        assert parameter["description"]


SHOWN = [route for route in API.endpoints if route.doc.shown]


@pytest.mark.parametrize("endpoint", SHOWN, ids=lambda route: f"{route.method} {route.path}")
def test_it_needs_the_key_that_the_route_needs(endpoint: Any) -> None:
    operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    assert (operation["security"] == []) == (endpoint.needs is None)
    assert isinstance(endpoint.doc, Operation)
    if endpoint.needs is not None:
        assert f"scope {endpoint.needs}" in operation["description"]


@pytest.mark.parametrize("endpoint", SHOWN, ids=lambda route: f"{route.method} {route.path}")
def test_the_reference_has_it(endpoint: Any) -> None:
    assert f"`{endpoint.method} {endpoint.path}" in REFERENCE.read_text(encoding="utf-8")


def examples() -> Iterator[tuple[str, Any, Any]]:
    """(where, schema, example) of every example in the document."""

    def walk(node: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
        if isinstance(node, dict):
            if "schema" in node and "example" in node:
                yield where, node["schema"], node["example"]
            if "default" in node and ("type" in node or "enum" in node or "anyOf" in node):
                yield where, node, node["default"]
            for name, child in node.items():
                yield from walk(child, f"{where}/{name}")
        elif isinstance(node, list):
            for number, child in enumerate(node):
                yield from walk(child, f"{where}/{number}")

    return walk(DOCUMENT, "")


@pytest.mark.parametrize(("where", "schema", "example"), [*examples()], ids=[where for where, _, _ in examples()])
def test_examples_and_defaults_fit_their_schemas(where: str, schema: Any, example: Any) -> None:
    OAS31Validator({**schema, "components": DOCUMENT["components"]}).validate(example)


@each_operation
def test_every_body_has_an_example(operation: dict[str, Any]) -> None:
    if "requestBody" in operation:
        assert "example" in operation["requestBody"]["content"]["application/json"]

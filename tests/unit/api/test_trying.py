"""The description for the page /docs: what Swagger UI fills in, and so sends."""

from __future__ import annotations

from typing import Any

import msgspec
import pydantic
import pytest

from queuey import App
from queuey.api.openapi.description import describe
from queuey.api.openapi.trying import for_trying, sample
from queuey.api.openapi.v3_0 import downgraded
from queuey.worker.handlers.parameters.schemas import payload_schemas
from tests.e2e.api.test_access import ROUTES

app = App()


class Node(msgspec.Struct):
    name: str
    next: Node


@app.job("a.chain")
async def chain(job: Node) -> None: ...


@app.job("b.resize")
async def resize(path: str, width: int = 200) -> None: ...


class Signup(pydantic.BaseModel):
    email: str
    plan: str = "free"
    age: pydantic.PositiveInt


@app.job("c.signup")
async def signup(job: Signup) -> None: ...


def document(*types: str) -> dict[str, Any]:
    made = describe(ROUTES)
    made["components"]["schemas"] |= payload_schemas({type: app.handlers[type] for type in types})
    return made


def test_only_required_parameters_are_filled_in() -> None:
    before, after = document(), for_trying(document())
    told = 0
    for path, item in after["paths"].items():
        for method, operation in item.items():
            for old, new in zip(
                before["paths"][path][method].get("parameters", []), operation.get("parameters", []), strict=True
            ):
                assert new["required"] or "example" not in new
                if not new["required"] and "example" in old:
                    assert new["description"].endswith(f"`{old['example']}`")
                    told += 1
    assert told > 10


@pytest.mark.parametrize(
    ("type", "payload"),
    [("b.resize", {"path": "text"}), ("c.signup", {"email": "text", "age": 1})],
)
def test_the_examples_of_jobs_have_a_type_of_this_server(type: str, payload: object) -> None:
    paths = downgraded(for_trying(document(type)))["paths"]

    def example(path: str) -> Any:
        return paths[path]["post"]["requestBody"]["content"]["application/json"]["example"]

    assert example("/v1/jobs") == {"type": type, "payload": payload}
    assert example("/v1/jobs/batch") == [{"type": type, "payload": payload}]


def test_a_server_without_handlers_keeps_the_examples() -> None:
    assert for_trying(document())["paths"]["/v1/jobs"]["post"] != document()["paths"]["/v1/jobs"]["post"]
    body = for_trying(document())["paths"]["/v1/jobs"]["post"]["requestBody"]
    assert body == document()["paths"]["/v1/jobs"]["post"]["requestBody"]


def test_a_type_that_contains_itself_ends() -> None:
    schemas = payload_schemas({"a.chain": app.handlers["a.chain"]})
    assert sample(schemas["payload.a.chain"], schemas)["next"]["name"] == "text"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"enum": ["low", "high"]}, "low"),
        ({"type": "array", "items": {"type": "string"}}, []),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"type": ["string", "null"]}, None),
        ({"description": "This type has no JSON schema."}, None),
        ({"$ref": "#/components/schemas/missing"}, None),
        ({"type": "boolean", "default": False}, False),
    ],
)
def test_a_sample_is_of_its_schema(schema: dict[str, Any], value: object) -> None:
    assert sample(schema, {}) == value

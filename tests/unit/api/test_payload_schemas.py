"""The payloads of handlers in the description of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pydantic
from openapi_spec_validator import OpenAPIV31SpecValidator

from queuey import App
from queuey.api.openapi.description import Description
from queuey.worker.handlers.parameters.schemas import payload_schemas

app = App()


class Greeting(msgspec.Struct):
    name: str


class Order(pydantic.BaseModel):
    parent: Order | None = None
    count: pydantic.PositiveInt


@app.job("greet")
def greet(job: Greeting) -> None: ...
@app.job("resize")
def resize(path: str, width: int = 200) -> None: ...
@app.job("order.new")
def order(job: Order) -> None: ...
@app.job("odd")
def odd(job: Annotated[Any, pydantic.PlainValidator(callable)], kind: Callable[[], None]) -> None: ...


def test_they_are_in_the_document_which_is_valid() -> None:
    document = Description([], lambda: payload_schemas(app.handlers)).document()
    OpenAPIV31SpecValidator(msgspec.json.decode(msgspec.json.encode(document))).validate()
    schemas = document["components"]["schemas"]
    assert schemas["payload.greet"] == {"$ref": "#/components/schemas/model.greet.Greeting"}
    assert schemas["model.greet.Greeting"]["required"] == ["name"]
    fields = schemas["model.resize.Fields"]
    assert (fields["required"], fields["additionalProperties"]) == (["path"], False)
    assert fields["properties"]["width"] == {"type": "integer", "default": 200}
    assert schemas["payload.order.new"] == {"$ref": "#/components/schemas/model.order.new.Order"}
    assert schemas["model.order.new.Order"]["properties"]["count"]["exclusiveMinimum"] == 0


def test_a_type_without_a_schema_hides_no_other() -> None:
    assert payload_schemas(app.handlers)["payload.odd"] == {"description": "This type has no JSON schema."}

"""JSON schemas of the types that the API's Structs use."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from queuey.api.openapi.schemas import Schemas
from queuey.protocol.models import NAME_PATTERN


class Inner(Struct):
    text: str


class Taken(Struct, forbid_unknown_fields=True):
    """What comes in."""

    name: Annotated[str, Meta(pattern=NAME_PATTERN)]
    payload: Raw = Raw(b'{"n": 1}')
    inner: Inner | None = None


class Given(Struct):
    at: datetime | None = None
    error: str | UnsetType = UNSET
    tree: list[Inner] = msgspec.field(default_factory=list)


class Short(Struct, omit_defaults=True):
    number: int = 0


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (Any, {}),
        (Raw | None, {}),
        (bool, {"type": "boolean"}),
        (datetime, {"type": "string", "format": "date-time"}),
        (Annotated[int, Meta(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}),
        (
            Annotated[float, Meta(gt=0, lt=9)],
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 9},
        ),
        (Annotated[str, Meta(min_length=1, max_length=9)], {"type": "string", "minLength": 1, "maxLength": 9}),
        (Annotated[str, Meta(pattern=r"^a\Z")], {"type": "string", "pattern": "^a$"}),
        (Annotated[str, Meta(description="A word")], {"type": "string", "description": "A word"}),
        (Literal["b", "a"], {"enum": ["a", "b"]}),
        (
            Annotated[list[str], Meta(min_length=1, max_length=9)],
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 9},
        ),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (Inner, {"$ref": "#/components/schemas/Inner"}),
    ],
)
def test_types(annotation: Any, schema: dict[str, Any]) -> None:
    assert Schemas().of(annotation) == schema


def test_what_comes_in_is_closed_and_its_defaults_are_told() -> None:
    schemas = Schemas()
    schemas.of(Taken)
    assert schemas.named["Taken"] == {
        "type": "object",
        "description": "What comes in.",
        "properties": {
            "name": {"type": "string", "pattern": NAME_PATTERN.replace(r"\Z", "$")},
            "payload": {"default": {"n": 1}},
            "inner": {"anyOf": [{"$ref": "#/components/schemas/Inner"}, {"type": "null"}]},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    assert "Inner" in schemas.named


def test_what_goes_out_has_all_its_fields_but_those_that_may_be_unset() -> None:
    schemas = Schemas()
    schemas.of(Given)
    schemas.of(Short)
    assert "description" not in schemas.named["Given"]
    assert schemas.named["Given"]["required"] == ["at", "tree"]
    assert "required" not in schemas.named["Short"]


def test_a_type_that_has_no_schema_and_a_name_twice_are_refused() -> None:
    with pytest.raises(TypeError, match="has no schema"):
        Schemas().of(set[int])
    schemas = Schemas()
    schemas.of(Inner)
    with pytest.raises(ValueError, match="two Structs are named Inner"):
        schemas.of(msgspec.defstruct("Inner", [("other", int)]))

"""JSON schemas (draft 2020-12, as in OpenAPI 3.1) of the types that msgspec checks. Structs are referred to by name.

msgspec's own generator cannot show a default that is raw JSON, and it writes patterns in Python's syntax.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, Raw
from msgspec import inspect as types

Schema = dict[str, Any]

_PLAIN: Final[dict[type, Schema]] = {
    types.AnyType: {},
    types.RawType: {},
    types.NoneType: {"type": "null"},
    types.BoolType: {"type": "boolean"},
    types.DateTimeType: {"type": "string", "format": "date-time"},
    types.DateType: {"type": "string", "format": "date"},
}
_BOUNDS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "min_length": "minLength",
    "max_length": "maxLength",
}
_ENTRIES: Final = {"max_length": "maxProperties"}
_COUNTS: Final = {"min_length": "minItems", "max_length": "maxItems"}


class Schemas:
    """Makes schemas. `named` collects the schemas of the Structs that they refer to."""

    def __init__(self) -> None:
        self.named: dict[str, Schema] = {}
        self._classes: dict[str, type] = {}

    def of(self, annotation: Any) -> Schema:
        """Return the schema of a type.

        Raises TypeError for a kind of type that the API does not use, and ValueError when two Structs have one name.
        """
        return self._of(types.type_info(annotation))

    def _of(self, info: types.Type) -> Schema:
        if type(info) in _PLAIN:
            return dict(_PLAIN[type(info)])
        match info:
            case types.Metadata():
                return {**self._of(info.type), **(info.extra_json_schema or {})}
            case types.StrType():
                pattern = {"pattern": info.pattern.replace(r"\Z", "$")} if info.pattern else {}
                return {"type": "string", **_bounds(info, _BOUNDS), **pattern}
            case types.IntType():
                return {"type": "integer", **_bounds(info, _BOUNDS)}
            case types.FloatType():
                return {"type": "number", **_bounds(info, _BOUNDS)}
            case types.LiteralType():
                return {"enum": list(info.values)}
            case types.ListType() | types.VarTupleType():
                return {"type": "array", "items": self._of(info.item_type), **_bounds(info, _COUNTS)}
            case types.DictType():
                values = {"additionalProperties": self._of(info.value_type)}
                return {"type": "object", **values, **_bounds(info, _ENTRIES)}
            case types.UnionType():
                return self._union(info)
            case types.StructType():
                return self._reference(info)
        raise TypeError(f"{info} has no schema here")

    def _union(self, info: types.UnionType) -> Schema:
        """Return the schema of a union. A type that accepts any JSON value accepts null too."""
        if any(isinstance(member, (types.RawType, types.AnyType)) for member in info.types):
            return {}
        return {"anyOf": [self._of(member) for member in info.types]}

    def _reference(self, info: types.StructType) -> Schema:
        name = info.cls.__name__
        if self._classes.setdefault(name, info.cls) is not info.cls:
            raise ValueError(f"two Structs are named {name}")
        if name not in self.named:
            self.named[name] = {}  # so that a Struct may contain itself
            self.named[name] = self._struct(info)
        return {"$ref": f"#/components/schemas/{name}"}

    def _struct(self, info: types.StructType) -> Schema:
        schema: Schema = {"type": "object"}
        if info.cls.__doc__:
            schema["description"] = inspect.cleandoc(info.cls.__doc__)
        schema["properties"] = {field.encode_name: self._field(field) for field in info.fields}
        sent_whole = not (info.forbid_unknown_fields or info.cls.__struct_config__.omit_defaults)
        required = [
            field.encode_name for field in info.fields if field.required or (sent_whole and _has_default(field))
        ]
        if required:
            schema["required"] = required
        if info.forbid_unknown_fields:
            schema["additionalProperties"] = False
        return schema

    def _field(self, field: types.Field) -> Schema:
        schema = self._of(field.type)
        if field.default is NODEFAULT or field.default is None:
            return schema
        default = field.default
        plain = msgspec.json.decode(default) if isinstance(default, Raw) else msgspec.to_builtins(default)
        return schema if plain is None else {**schema, "default": plain}


def _has_default(field: types.Field) -> bool:
    """Return whether the field always has a value. A field that may be unset has no default of either kind."""
    return field.default is not NODEFAULT or field.default_factory is not NODEFAULT


def _bounds(info: types.Type, words: dict[str, str]) -> Schema:
    return {word: value for name, word in words.items() if (value := getattr(info, name, None)) is not None}

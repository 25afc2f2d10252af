"""The JSON schemas of the payloads that handlers take, for the description of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from queuey.worker.handlers.handler import Handler

Schema = dict[str, Any]


def payload_schemas(handlers: Mapping[str, Handler]) -> dict[str, Schema]:
    """Return the schema of each type's payload as `payload.<type>`, and the types in it as `model.<type>.<name>`."""
    made: dict[str, Schema] = {}
    for type, handler in handlers.items():
        try:
            schema = handler.payload.schema(f"#/components/schemas/model.{type}.{{model}}")
        except Exception:  # pydantic can check types that have no JSON schema
            schema = {"description": "This type has no JSON schema."}
        named: dict[str, Schema] = schema.pop("$defs", {})
        made |= {f"model.{type}.{name}": inner for name, inner in named.items()}
        made[f"payload.{type}"] = schema
    return made

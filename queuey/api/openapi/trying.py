"""The description as the page /docs needs it: a request that is tried sends only what its user enters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Document = dict[str, Any]
Schema = dict[str, Any]

DEEPEST: Final = 5
"""The depth to which the example of a payload is filled in, since a type may contain itself."""
_PAYLOAD: Final = "payload."
_PLAIN: Final[dict[str, Any]] = {"string": "text", "integer": 1, "number": 1, "boolean": True, "array": []}


def for_trying(document: Document) -> Document:
    """Return a copy for Swagger UI, which sends the example of each parameter unless its user deletes it.

    So the examples of optional parameters become text. The examples of jobs get a type that this server knows.
    """
    paths = {
        path: {method: _operation(one) for method, one in item.items()} for path, item in document["paths"].items()
    }
    made = {**document, "paths": paths}
    job = _job(document["components"]["schemas"])
    if job is not None:
        _set_example(paths, "/v1/jobs", job)
        _set_example(paths, "/v1/jobs/batch", [job])
    return made


def _operation(operation: Document) -> Document:
    if "parameters" not in operation:
        return operation
    return {**operation, "parameters": [_parameter(one) for one in operation["parameters"]]}


def _parameter(parameter: Document) -> Document:
    if parameter["required"] or "example" not in parameter:
        return parameter
    text = f"{parameter['description']}. Example: `{parameter['example']}`"
    return {name: value for name, value in parameter.items() if name != "example"} | {"description": text}


def _set_example(paths: Document, path: str, example: Any) -> None:
    operation = paths[path]["post"]
    content = operation["requestBody"]["content"]
    body = {**content["application/json"], "example": example}
    changed = {**operation["requestBody"], "content": {**content, "application/json": body}}
    paths[path]["post"] = {**operation, "requestBody": changed}


def _job(schemas: Mapping[str, Schema]) -> dict[str, Any] | None:
    """Return a job of the first type whose payload is known; None if no handler is here."""
    types = sorted(name.removeprefix(_PAYLOAD) for name in schemas if name.startswith(_PAYLOAD))
    if not types:
        return None
    return {"type": types[0], "payload": sample(schemas[_PAYLOAD + types[0]], schemas)}


def sample(schema: Schema, named: Mapping[str, Schema], depth: int = 0) -> Any:
    """Return a value of a schema, for a person to edit. Patterns and the like are not looked at."""
    if depth > DEEPEST:
        return None
    for given in ("example", "default", "const"):
        if given in schema:
            return schema[given]
    for listed in ("examples", "enum"):
        if schema.get(listed):
            return schema[listed][0]
    if "$ref" in schema:
        return sample(named.get(schema["$ref"].rpartition("/")[2], {}), named, depth + 1)
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return sample(schema[choice][0], named, depth + 1)
    if schema.get("type") == "object":
        required = schema.get("required", ())
        properties = schema.get("properties", {})
        return {name: sample(inner, named, depth + 1) for name, inner in properties.items() if name in required}
    kind = schema.get("type")
    return _PLAIN.get(kind) if isinstance(kind, str) else None

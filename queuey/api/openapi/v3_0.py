"""The description of the API in OpenAPI 3.0, which has another JSON schema, for tools that cannot read 3.1."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]
_NULL = {"type": "null"}


def downgraded(document: Document) -> Document:
    """Return a copy of a 3.1 document of description.py as 3.0."""
    made: Document = _converted(document)
    made["openapi"] = "3.0.3"
    made["info"]["license"] = {"name": document["info"]["license"]["name"]}
    return made


def _converted(node: Any) -> Any:
    if isinstance(node, list):
        return [_converted(child) for child in node]
    if not isinstance(node, dict):
        return node
    found = {name: child if name in ("example", "default") else _converted(child) for name, child in node.items()}
    for bound, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(found.get(bound), (int, float)):
            found[inclusive], found[bound] = found[bound], True
    if _NULL in found.get("anyOf", []):
        return _nullable(found)
    return found


def _nullable(schema: Document) -> Document:
    """Replace the type null by `nullable`, which 3.0 has instead. In 3.0 fields beside a reference are ignored."""
    others = [member for member in schema["anyOf"] if member != _NULL]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    if len(others) == 1 and "$ref" not in others[0]:
        return {**others[0], **rest, "nullable": True}
    return {"anyOf": others, **rest, "nullable": True}

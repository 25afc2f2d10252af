"""The repr of a model that holds JSON."""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct

MAX_SHOWN: Final = 200
"""The maximum number of characters of a payload or result in a repr."""


def readable(model: Struct) -> str:
    """Return a repr of the model that shows its JSON as text, cut to a length that a person reads."""
    fields = ", ".join(f"{name}={shown(getattr(model, name))}" for name in model.__struct_fields__)
    return f"{type(model).__name__}({fields})"


def shown(value: object) -> str:
    """Return the repr of a field."""
    if not isinstance(value, Raw):
        return repr(value)
    text = bytes(value).decode(errors="backslashreplace")
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... {len(text) - MAX_SHOWN} more characters"

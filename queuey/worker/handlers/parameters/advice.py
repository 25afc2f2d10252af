"""The advice for payloads whose form is that of another number of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter
from typing import Final

import msgspec

MAX_NAMED: Final = 5
"""The maximum number of fields that are named."""


def advice(fields: Sequence[Parameter], payload: str | bytes | msgspec.Raw) -> str:
    """Return what to send in place of a payload that does not fit these parameters; empty if its form is right.

    It has no value of the payload, since errors go to logs.
    """
    try:
        given = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return ""
    names = [field.name for field in fields]
    if len(names) > 1 and not isinstance(given, dict):
        shown = ", ".join(f'"{name}": ...' for name in names[:MAX_NAMED])
        rest = ", ..." if len(names) > MAX_NAMED else ""
        return f"The payload has a field for each parameter: send {{{shown}{rest}}}"
    if len(names) == 1 and isinstance(given, dict) and [*given] == names:
        [name] = names
        return f'The only parameter, {name!r}, takes the whole payload: send its value without {{"{name}": ...}}'
    return ""

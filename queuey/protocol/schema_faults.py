"""Errors of the schema in the terms of the request: a JSON pointer, and the allowed values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from queuey.errors import Fault, Invalid
from queuey.protocol.models import Backoff, JobRequest

_NAME: Final = "1 to 64 letters, digits, '.', '_' and '-', starting with a letter or digit"

ALLOWED: Final = {
    "": "a JSON object",
    "/type": f"the job's type: {_NAME}",
    "/payload": "any JSON value",
    "/id": "a Queuey id of 28 characters: 2 for its bucket, then a ULID",
    "/queue": _NAME,
    "/priority": "high, default or low",
    "/dedupe_key": "1 to 256 bytes of printable text",
    "/dedupe_ttl": "a number of seconds above 0 and up to 31536000 (1 year)",
    "/max_attempts": "a whole number from 1 to 1000",
    "/timeout": "a number of seconds above 0 and up to 86400 (1 day)",
    "/delay": "a number of seconds from 0 to 31536000 (1 year)",
    "/run_at": "a time with a time zone, such as 2030-01-31T12:00:00Z",
    "/backoff": "an object of base, factor and cap",
    "/backoff/base": "a number of seconds above 0 and up to 86400 (1 day)",
    "/backoff/factor": "a number from 1 to 100",
    "/backoff/cap": "a number of seconds above 0 and up to 86400 (1 day)",
    "/retention": "a number of seconds from 0 to 31536000 (1 year)",
    "/expires_in": "a number of seconds above 0 and up to 31536000 (1 year)",
    "/traceparent": "a traceparent of W3C's Trace Context, such as 00-<32 hex digits>-<16 hex digits>-01",
}
"""The allowed values of each field, to be read after "must be"."""


class Form(NamedTuple):
    """The form of a request's body.

    `allowed` has the allowed values by pointer, to be read after "must be"; `*` stands for any index of an array.
    `fields` has the fields of each object. `name` is the body's name in errors.
    """

    allowed: Mapping[str, str]
    fields: Mapping[str, Sequence[str]]
    name: str


JOB: Final = Form(ALLOWED, {"": JobRequest.__struct_fields__, "/backoff": Backoff.__struct_fields__}, "The job")
_KINDS: Final = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
}

_PATH: Final = re.compile(r" - at `\$([^`]*)`\Z")
_STEP: Final = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]")
_INDEX: Final = re.compile(r"/\d+")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$[.a-z_]*`)?\Z", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
_GOT: Final = re.compile(r"Expected `.*`, got `(\w+)`")
_SHOWN: Final = 64


def to_pointer(message: str) -> str:
    """Return the JSON pointer (RFC 6901) for the path at the end of msgspec's message, or '' if it has no path."""
    path = _PATH.search(message)
    if path is None:
        return ""
    steps = (name or index for name, index in _STEP.findall(path[1]))
    return "".join(f"/{step}" for step in steps if step != "...")


def invalid(pointer: str, detail: str, body: str = JOB.name) -> Invalid:
    """Return the error for one field. `detail` is read after the field's name, and ends without a full stop."""
    return Invalid(f"{pointer.removeprefix('/') or body} {detail}.", [Fault(pointer, detail)])


def explain(error: msgspec.ValidationError, form: Form = JOB) -> Invalid:
    """Return the error for a body that the schema refused: the pointer, the value's kind, and what is allowed."""
    message = str(error)
    parent = to_pointer(message)
    if unknown := _UNKNOWN.match(message):
        return _unknown_field(parent, unknown[1], form)
    if missing := _MISSING.match(message):
        pointer = f"{parent}/{missing[1]}"
        return invalid(pointer, f"is missing. It must be {form.allowed[pointer]}")
    got = _GOT.match(message)
    instead = f", not {_KINDS[got[1]]}" if got and got[1] in _KINDS else ""
    return invalid(
        parent,
        f"must be {form.allowed.get(_INDEX.sub('/*', parent), 'as the documentation says')}{instead}",
        form.name,
    )


def _unknown_field(parent: str, name: str, form: Form) -> Invalid:
    known = form.fields.get(parent, ())
    close = difflib.get_close_matches(name[:_SHOWN], known, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Allowed: {', '.join(known)}"
    shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
    pointer = f"{parent}/{shown.replace('~', '~0').replace('/', '~1')}"
    return Invalid(f"Unknown field {shown!r}. {hint}", [Fault(pointer, f"is unknown. {hint}")])

"""Errors of the schema in the terms of the request: a JSON pointer, and the allowed values."""

from __future__ import annotations

import difflib
import re
from typing import Final

import msgspec

from queuey.errors import Fault, Invalid
from queuey.protocol.allowed import Form, form_of, in_words
from queuey.protocol.models import NAME_RULE, Factor, JobRequest

JOB: Final = form_of(
    JobRequest,
    "The job",
    {
        "/type": f"the job's type: {NAME_RULE}",
        "/id": "a Queuey id of 28 characters: 2 for its bucket, then a ULID",
        "/priority": "high, default or low",
        "/dedupe_key": "1 to 256 bytes of printable text",
        "/run_at": "a time with a time zone, such as 2030-01-31T12:00:00Z",
        "/backoff/factor": in_words(Factor),
        "/traceparent": "a traceparent of W3C's Trace Context, such as 00-<32 hex digits>-<16 hex digits>-01",
    },
)
ALLOWED: Final = JOB.allowed
"""The allowed values of each field, to be read after "must be"."""

_KINDS: Final = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
}

_PATH: Final = re.compile(r" - at (?:`key` in )?`\$([^`]*)`\Z")
_STEP: Final = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]")
_INDEX: Final = re.compile(r"/\d+")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$[.a-z_\[\]\d]*`)?\Z", re.DOTALL)
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


def too_many_queues() -> Invalid:
    """Return the error for a new queue when the store has the maximum number of queues."""
    return invalid("/queue", "is a new queue, and the store has the maximum number of queues; use an existing one")


def explain(error: msgspec.ValidationError, form: Form = JOB) -> Invalid:
    """Return the error for a body that the schema refused: the pointer, the value's kind, and what is allowed."""
    message = str(error)
    parent = to_pointer(message)
    if unknown := _UNKNOWN.match(message):
        return _unknown_field(parent, unknown[1], form)
    if missing := _MISSING.match(message):
        pointer = f"{parent}/{missing[1]}"
        return invalid(pointer, f"is missing. It must be {form.allowed[_INDEX.sub('/*', pointer)]}")
    got = _GOT.match(message)
    instead = f", not {_KINDS[got[1]]}" if got and got[1] in _KINDS else ""
    field = _INDEX.sub("/*", parent)
    if got and got[1] == "null" and field in form.optional:
        instead += "; leave it out instead"
    return invalid(parent, f"must be {form.allowed.get(field, 'as the documentation says')}{instead}", form.name)


def _unknown_field(parent: str, name: str, form: Form) -> Invalid:
    known = form.fields.get(_INDEX.sub("/*", parent), ())
    close = difflib.get_close_matches(name[:_SHOWN], known, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Allowed: {', '.join(known)}"
    shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
    pointer = f"{parent}/{shown.replace('~', '~0').replace('/', '~1')}"
    return Invalid(f"Unknown field {shown!r}. {hint}", [Fault(pointer, f"is unknown. {hint}")])

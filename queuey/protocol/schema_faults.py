"""Errors of the schema in the terms of the request: a JSON pointer, and the allowed values.

The decoder stops at the first fault. `with_all_faults` then takes a second look, at each field by itself. So a request
without a fault costs nothing more.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct

from queuey.errors import Fault, Invalid, ParameterFault, RequestError
from queuey.protocol.allowed import SOON, Form, form_of, in_words
from queuey.protocol.models import NAME_RULE, Factor, JobRequest
from queuey.protocol.models.labels import MAX_METADATA, MAX_METADATA_BYTES, MAX_TAGS, TAG_RULE

JOB: Final = form_of(
    JobRequest,
    "The job",
    {
        "/type": f"the job's type: {NAME_RULE}",
        "/id": "a Queuey id of 28 characters: 2 for its bucket, then a ULID",
        "/priority": "high, default or low",
        "/dedupe_key": "1 to 256 bytes of printable text",
        **{f"/{kind}/key": "1 to 256 bytes of printable text" for kind in ("unique", "debounce", "throttle")},
        "/run_at": f"a date, a time with seconds, and a time zone, such as {SOON}",
        "/backoff/factor": in_words(Factor),
        "/batch/key": "1 to 256 bytes of printable text",
        "/tags": f"an array of at most {MAX_TAGS} different texts",
        "/tags/*": TAG_RULE,
        "/metadata": f"an object of at most {MAX_METADATA} texts, {MAX_METADATA_BYTES:,} bytes together; its keys are "
        f"{NAME_RULE}",
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
_STEP: Final = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_ANY_KEY: Final = "[...]"
_INDEX: Final = re.compile(r"/\d+")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$[.a-z_\[\]\d]*`)?\Z", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
_GOT: Final = re.compile(r"Expected `.*`, got `(\w+)`")
_SHOWN: Final = 64
MAX_FAULTS: Final = 20
"""The maximum number of faults that an error names."""
MAX_LOOKS: Final = 20
"""The maximum number of items of a batch whose errors name more than their first fault."""
MAX_LOOKED_AT: Final = 1_000_000
"""Bytes of a body up to which there is a second look, since it makes an object of every field."""


class Check(NamedTuple):
    """A check that the schema cannot make, of a body that was decoded.

    `run` raises a RequestError that names the faults. After another fault it is run only if `fields`, which it reads,
    have none.
    """

    run: Callable[[Any], object]
    fields: tuple[str, ...]


def to_pointer(message: str) -> str:
    """Return the JSON pointer (RFC 6901) for the path at the end of msgspec's message, or '' if it has no path.

    The message does not have the keys of a dict, so the pointer ends at the dict.
    """
    path = _PATH.search(message)
    if path is None:
        return ""
    return "".join(f"/{name or index}" for name, index in _STEP.findall(path[1].partition(_ANY_KEY)[0]))


def invalid(pointer: str, detail: str, body: str = JOB.name) -> Invalid:
    """Return the error for one field. `detail` is read after the field's name, and ends without a full stop."""
    return Invalid(f"{pointer.removeprefix('/') or body} {detail}.", [Fault(pointer, detail)])


def too_many_queues() -> Invalid:
    """Return the error for a new queue when the store has the maximum number of queues."""
    return invalid("/queue", "is a new queue, and the store has the maximum number of queues; use an existing one")


def explain(error: msgspec.ValidationError, form: Form = JOB) -> Invalid:
    """Return the error for a body that the schema refused: the pointer, the value's kind, and what is allowed."""
    return _explained(str(error), "", form)


def _explained(message: str, at: str, form: Form) -> Invalid:
    """Return the error for a message of the decoder about the value at a pointer."""
    parent = at + to_pointer(message)
    if unknown := _UNKNOWN.match(message):
        return _unknown_field(parent, unknown[1], form)
    if missing := _MISSING.match(message):
        return _missing_field(f"{parent}/{missing[1]}", form)
    got = _GOT.match(message)
    instead = f", not {_KINDS[got[1]]}" if got and got[1] in _KINDS else ""
    if instead and _ANY_KEY in message:  # the pointer is that of the object, whose kind is right
        has = "has an item that is" if f"{_ANY_KEY}[" in message else "is"
        instead = f". One of its values {has} {instead.removeprefix(', not ')}"
    field = _INDEX.sub("/*", parent)
    if got and got[1] == "null" and field in form.optional:
        instead += "; leave it out instead"
    return invalid(parent, f"must be {form.allowed.get(field, 'as the documentation says')}{instead}", form.name)


def _missing_field(pointer: str, form: Form) -> Invalid:
    return invalid(pointer, f"is missing. It must be {form.allowed[_INDEX.sub('/*', pointer)]}")


def _unknown_field(parent: str, name: str, form: Form) -> Invalid:
    known = form.fields.get(_INDEX.sub("/*", parent), ())
    close = difflib.get_close_matches(name[:_SHOWN], known, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Allowed: {', '.join(known)}"
    shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
    pointer = f"{parent}/{shown.replace('~', '~0').replace('/', '~1')}"
    return Invalid(f"Unknown field {shown!r}. {hint}{'' if close else '.'}", [Fault(pointer, f"is unknown. {hint}")])


def with_all_faults(first: Invalid, text: bytes | Raw, form: Form, *checks: Check) -> Invalid:
    """Return the error with the other faults of the body too, and with those that the checks find."""
    if form.struct is None or len(bytes(text)) > MAX_LOOKED_AT:
        return first
    look = _SecondLook(form)
    try:
        names = _fields(form.struct)
        found = look.into_object(text, form.struct, "")
        value = form.struct(**{names[name].name: given for name, given in found.items()})
    except msgspec.DecodeError:  # it is no object, or what follows the first fault is no JSON
        return first
    if len(look.found) < MAX_FAULTS:
        due = [check for check in checks if look.faulty.isdisjoint(check.fields)]
        look.found += failures(*(partial(check.run, value) for check in due))
    return together([first, *look.found])


def together(errors: Sequence[RequestError]) -> Invalid:
    """Return the first of the errors with the faults of all, one for each place."""
    faults: dict[str, Fault | ParameterFault] = {}
    for fault in (fault for error in errors for fault in error.faults):
        place = fault.pointer if isinstance(fault, Fault) else f"?{fault.parameter}"  # no pointer begins with "?"
        faults.setdefault(place, fault)
    return Invalid(errors[0].message, [*faults.values()][:MAX_FAULTS])


class SecondLooks:
    """Counts the second looks at the items of one batch, since a batch may have many items with faults."""

    def __init__(self) -> None:
        self._left = MAX_LOOKS

    def take(self) -> bool:
        """Return whether one more is allowed."""
        self._left -= 1
        return self._left >= 0


def failures(*checks: Callable[[], object]) -> list[RequestError]:
    """Run all checks, and return what they raise."""
    found: list[RequestError] = []
    for check in checks:
        try:
            check()
        except RequestError as error:
            found.append(error)
    return found


class _SecondLook:
    """The faults of one body, each field looked at by itself. It stops at MAX_FAULTS of them.

    Every method raises DecodeError if the text is not JSON.
    """

    def __init__(self, form: Form) -> None:
        self._form = form
        self.found: list[RequestError] = []
        """Each names one fault or more of the body."""

    @property
    def faulty(self) -> set[str]:
        """The fields at the top that have a fault."""
        faults = (fault for error in self.found for fault in error.faults)
        return {fault.pointer.split("/")[1] for fault in faults if isinstance(fault, Fault)}

    def into_object(self, text: bytes | Raw, struct: type[Struct], at: str) -> dict[str, Any]:
        """Look at each field of an object. Return the valid ones, and None for required ones that are not."""
        given = _decode_object(text)
        fields = _fields(struct)
        required = [name for name, field in fields.items() if field.required]
        valid: dict[str, Any] = dict.fromkeys(required)
        for name, value in given.items():
            if len(self.found) >= MAX_FAULTS:
                break
            if name not in fields:
                self.found.append(_unknown_field(at, name, self._form))
            elif message := _refusal(value, fields[name].type):
                self._into_value(value, fields[name].type, f"{at}/{name}", message)
            else:
                valid[name] = _decoder(fields[name].type).decode(value)
        self.found += [_missing_field(f"{at}/{name}", self._form) for name in required if name not in given]
        return valid

    def _into_value(self, text: Raw, kind: Any, at: str, message: str) -> None:
        """Add the faults of a value that is not valid. `message`: what the decoder says of it."""
        opening = bytes(text)[:1]
        for member in _members(kind):
            if opening == b"{" and isinstance(member.kind, type) and issubclass(member.kind, Struct):
                self.into_object(text, member.kind, at)
                return
            if opening == b"[" and get_origin(member.kind) in (list, Sequence):
                self._into_array(text, member, at)
                return
        self.found.append(_explained(message, at, self._form))

    def _into_array(self, text: Raw, member: _Member, at: str) -> None:
        """Look at each item of an array, whose length has a limit."""
        if message := _refusal(text, Annotated[(list[Raw], *member.bounds)] if member.bounds else list[Raw]):
            self.found.append(_explained(message, at, self._form))
            return
        (kind,) = get_args(member.kind)
        for place, item in enumerate(_decode_array(text)):
            if len(self.found) >= MAX_FAULTS:
                break
            if message := _refusal(item, kind):
                self._into_value(item, kind, f"{at}/{place}", message)


class _Member(NamedTuple):
    """A type that a value may have, and the bounds of Meta around it."""

    kind: Any
    bounds: tuple[Any, ...] = ()


def _members(kind: Any, bounds: tuple[Any, ...] = ()) -> Iterator[_Member]:
    """Yield the types of a union, or the only one."""
    if get_origin(kind) is Annotated:
        inner, *around = get_args(kind)
        yield from _members(inner, tuple(around))
    elif get_origin(kind) in (Union, UnionType):
        for member in get_args(kind):
            yield from _members(member, bounds)
    else:
        yield _Member(kind, bounds)


@lru_cache(maxsize=64)
def _fields(struct: type[Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _refusal(text: Raw, kind: Any) -> str | None:
    """Return what the decoder says of a value that does not have this type."""
    try:
        _decoder(kind).decode(text)
    except msgspec.ValidationError as error:
        return str(error)
    return None


_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode

"""The allowed values of a request's fields, in words that are made from their types and bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from msgspec import Struct
from msgspec import inspect as types

from queuey.protocol.models import NAME_PATTERN, NAME_RULE, YEAR

_PLAIN: Final[dict[type, str]] = {types.BoolType: "true or false", types.RawType: "any JSON value"}
_SPANS: Final = {3600: "1 hour", 24 * 3600: "1 day", YEAR: "1 year"}
SOON: Final = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}T12:00:00Z"
"""The time in examples, tomorrow. A fixed one would be too far away for max_delay, or long past."""
_EXACT: Final = 10**9
"""Numbers up to this are written with all their digits."""


class Form(NamedTuple):
    """The form of a request's body.

    `allowed` has the allowed values by pointer, to be read after "must be"; `*` stands for any index of an array.
    `fields` has the fields of each object, `optional` the pointers of fields that may be left out. `name` is the body's
    name in errors, `struct` its type.
    """

    allowed: Mapping[str, str]
    fields: Mapping[str, Sequence[str]]
    name: str
    optional: AbstractSet[str] = frozenset()
    struct: type[Struct] | None = None


def form_of(struct: type[Struct], name: str, words: Mapping[str, str] | None = None) -> Form:
    """Return the form of a body. `words`: the allowed values of fields whose types do not say enough."""
    allowed: dict[str, str] = {"": "a JSON object"}
    fields: dict[str, Sequence[str]] = {"": struct.__struct_encode_fields__}
    optional: set[str] = set()
    _add_fields(struct, "", words or {}, allowed, fields, optional)
    return Form(allowed, fields, name, optional, struct)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, such as "1 job" or "1,200 jobs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def in_words(annotation: Any, what: str = "") -> str:
    """Return the values that a type allows, to be read after "must be". `what`: the unit of a number, or empty."""
    return _in_words(_without_none(types.type_info(annotation)), what)


def _add_fields(
    struct: type[Struct],
    at: str,
    words: Mapping[str, str],
    allowed: dict[str, str],
    fields: dict[str, Sequence[str]],
    optional: set[str],
) -> None:
    info = types.type_info(struct)
    assert isinstance(info, types.StructType)
    for field in info.fields:
        pointer, kind = f"{at}/{field.encode_name}", _without_none(field.type)
        allowed[pointer] = words.get(pointer) or _in_words(kind, "seconds")
        if not field.required:
            optional.add(pointer)
        if isinstance(kind, types.ListType):
            pointer, kind = f"{pointer}/*", kind.item_type
            allowed[pointer] = words.get(pointer) or _in_words(kind, "seconds")
        for inner in kind.types if isinstance(kind, types.UnionType) else (kind,):
            if isinstance(inner, types.StructType):
                fields[pointer] = inner.cls.__struct_encode_fields__
                _add_fields(inner.cls, pointer, words, allowed, fields, optional)


def _without_none(info: types.Type) -> types.Type:
    """Return the type without None, which stands for a missing field."""
    if not isinstance(info, types.UnionType):
        return info
    rest = tuple(member for member in info.types if not isinstance(member, types.NoneType))
    return rest[0] if len(rest) == 1 else types.UnionType(rest)


def _in_words(info: types.Type, what: str) -> str:
    if type(info) in _PLAIN:
        return _PLAIN[type(info)]
    match info:
        case types.StrType(pattern=pattern) if pattern == NAME_PATTERN:
            return NAME_RULE
        case types.StrType(pattern=None, max_length=length):
            return "a text" if length is None else f"a text of at most {length} characters"
        case types.IntType():
            return f"a whole number {_bounds(info)}"
        case types.FloatType():
            return f"a number of {what} {_bounds(info)}" if what else f"a number {_bounds(info)}"
        case types.LiteralType():
            return _listed([str(value) for value in info.values], "or")
        case types.ListType():
            return f"an array of {info.min_length} to {info.max_length} items"
        case types.StructType():
            return f"an object of {_listed(info.cls.__struct_encode_fields__, 'and')}"
        case types.UnionType(types=(types.IntType(), types.FloatType() as number)):
            return f"a number {_bounds(number)}"
        case types.UnionType():
            return ", or ".join(_in_words(member, what) for member in info.types)
    raise TypeError(f"{info} needs words of its own")


def _bounds(info: types.IntType | types.FloatType) -> str:
    low = f"from {_number(info.ge)} to" if info.ge is not None else f"above {_number(info.gt)} and up to"
    span = _SPANS.get(int(info.le or 0)) if isinstance(info, types.FloatType) else None
    return f"{low} {_number(info.le)}" + (f" ({span})" if span else "")


def _number(value: float | None) -> str:
    assert value is not None, "a number of a request needs bounds"
    return str(int(value)) if value == int(value) and value <= _EXACT else f"{value:g}".replace("e+", "e")


def _listed(names: Sequence[str], word: str) -> str:
    return f"{', '.join(names[:-1])} {word} {names[-1]}" if len(names) > 1 else names[0]

"""The JSON of pydantic's models and dataclasses. It is not imported here: their classes bring what is needed.

They are written and read by alias, as a handler does.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any, Final, TypeVar

import msgspec

SERIALIZER: Final = "__pydantic_serializer__"
"""The attribute of such a class that writes its objects."""
VALIDATOR: Final = "__pydantic_validator__"
"""The attribute of such a class that reads its objects."""

T = TypeVar("T")


def encode(value: Any, pointer: str = "") -> bytes:
    """Return the JSON of a pydantic value. `pointer` is its JSON pointer, for errors.

    Raises ValueError for a NaN or an infinity, and TypeError if pydantic cannot write the value.
    """
    kind = type(value)
    serializer, plain = getattr(kind, SERIALIZER), None
    try:
        text: bytes = serializer.to_json(value, by_alias=True)
        if b"null" in text or b"NaN" in text or b"Infinity" in text:
            plain = serializer.to_python(value, by_alias=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise TypeError(
            f"{pointer or 'The value'}: pydantic cannot write {kind.__qualname__} as JSON: {reason}. "
            "Give the field another type, or a field_serializer."
        ) from error
    for place, number in not_finite(plain, pointer):
        raise ValueError(infinite_number(place, number))
    return text


def hook(value: Any) -> msgspec.Raw:
    """Encode a value that msgspec does not know, as its `enc_hook`. Raises TypeError if nobody knows it."""
    kind = type(value)
    if SERIALIZER not in kind.__dict__:
        raise TypeError(f"Encoding objects of type {kind.__qualname__} is unsupported")
    return msgspec.Raw(encode(value, kind.__qualname__))


def decode(text: bytes | msgspec.Raw, into: type[T]) -> T:
    """Return the value of JSON text as a type, which may be of pydantic or contain such a type.

    Raises msgspec.ValidationError if it is not of that type.
    """
    if VALIDATOR in getattr(into, "__dict__", {}):  # msgspec would read a pydantic dataclass without its validators
        try:
            return _read(into, bytes(text))
        except ValueError as error:
            raise msgspec.ValidationError(str(error)) from error
    return msgspec.json.decode(text, type=into, dec_hook=_decode_hook)


def _decode_hook(kind: type[T], value: Any) -> T:
    """Read a value of a type that msgspec does not know. msgspec adds the place to a ValueError."""
    if VALIDATOR not in kind.__dict__:
        raise TypeError(f"Objects of type {kind.__qualname__} cannot be read from JSON")
    return _read(kind, msgspec.json.encode(value))


def _read(kind: type[T], text: bytes) -> T:
    made: T = getattr(kind, VALIDATOR).validate_json(text)
    return made


def not_finite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    """Yield the place and the value of each number that JSON does not have."""
    if isinstance(value, float) and not isfinite(value):
        yield place, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from not_finite(item, f"{place}/{str(name).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from not_finite(item, f"{place}/{index}")


def infinite_number(place: str, number: float) -> str:
    """Return the error for a number that JSON does not have."""
    is_field = place.count("/") == 1 and place not in ("/payload", "/result")
    is_field |= place.startswith(("/backoff/", "/progress/"))
    advice = "Give a finite number" if is_field else "Send null or a string"
    return f"{place or 'The value'} is {number}, and JSON has no such number. {advice}."

"""The JSON of values that users give. NaN and infinities are refused, since msgspec writes null: a missing value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

import msgspec

from queuey.protocol.json import foreign

_encode: Final = msgspec.json.Encoder(enc_hook=foreign.hook).encode
_check_syntax: Final = msgspec.json.Decoder(msgspec.Raw).decode
_pack: Final = msgspec.msgpack.Encoder().encode
_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""How a NaN or an infinity begins in MessagePack. Other values may contain these bytes too."""


def encode(value: Any, pointer: str = "") -> bytes:
    """Return the value as JSON. `pointer` is its JSON pointer, for the error.

    Raises ValueError for a NaN or an infinity, and TypeError for a value that neither msgspec nor pydantic can encode.
    """
    if foreign.SERIALIZER in type(value).__dict__:  # msgspec would write a pydantic dataclass without its serializers
        return foreign.encode(value, pointer)
    text = _encode(value)
    if b"null" in text and _may_be_infinite(value):
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_opaque)
        for place, number in foreign.not_finite(plain, pointer):
            raise ValueError(foreign.infinite_number(place, number))
    return text


def encode_line(value: Any, pointer: str = "") -> bytes:
    """Return the value as JSON on one line. Raises what `encode` raises, and DecodeError for a Raw that is not JSON."""
    text = encode(value, pointer)
    _check_syntax(text)  # A msgspec.Raw in it may contain any text.
    return msgspec.json.format(text, indent=-1) if b"\n" in text else text


def check_finite(values: Mapping[str, object]) -> None:
    """Check that no number among these values is NaN or infinite. Raises ValueError."""
    for name, value in values.items():
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(f"{name} is {value}. Give a finite number.")


def _may_be_infinite(value: Any) -> bool:
    """Return False if no number in the value is NaN or infinite. This is ten times as fast as to look at each."""
    try:
        return _NOT_FINITE.search(_pack(value)) is not None
    except Exception:  # MessagePack has no integers of more than 64 bits
        return True


def _opaque(_: object) -> None:
    """Stand for a value that is JSON text already (msgspec.Raw), or that pydantic writes: both have no NaN."""

"""Codecs: what an App does to the bytes of payloads and results on their way to the store and back.

The store keeps JSON, so sealed bytes are an object with the codec's name: {"$codec": "zlib", "data": "<base64>"}.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Raw

from queuey.protocol.json import strict

_BEGINS: Final = re.compile(rb'\s*\{\s*"\$codec"\s*:')

T = TypeVar("T")


class Codec(Protocol):
    """Changes the bytes of payloads and results, for example to compress or to encrypt them."""

    @property
    def name(self) -> str:
        """The name that is kept with the bytes. Change it with the format."""

    def encode(self, data: bytes) -> bytes:
        """Return what is kept for these bytes of JSON."""

    def decode(self, data: bytes) -> bytes:
        """Return the bytes of JSON. Any exception means that they cannot be read."""


class CodecFault(msgspec.DecodeError):
    """Raised for sealed bytes that a codec cannot read."""


class _Sealed(msgspec.Struct):
    codec: str = msgspec.field(name="$codec")
    data: bytes


_decode: Final = msgspec.json.Decoder(_Sealed).decode
_decode_items: Final = msgspec.json.Decoder(list[Raw]).decode


def seal_json(codec: Codec, text: bytes) -> Raw:
    """Return JSON that holds this JSON as the codec encodes it. Raises what the codec raises."""
    sealed = {"$codec": codec.name, "data": base64.b64encode(codec.encode(text)).decode()}
    return Raw(msgspec.json.encode(sealed))


def unseal_json(codec: Codec, text: str | bytes | Raw) -> bytes:
    """Return the JSON within. JSON that was not sealed is returned as it is. Raises CodecFault."""
    plain = text.encode() if isinstance(text, str) else bytes(text)
    if _BEGINS.match(plain) is None:
        return plain
    sealed = _decode(plain)
    if sealed.codec != codec.name:
        raise CodecFault(f"it was written by the codec {sealed.codec!r}, and the codec here is {codec.name!r}")
    try:
        return codec.decode(sealed.data)
    except Exception as error:
        raise CodecFault(f"the codec {codec.name!r} cannot read it: {type(error).__qualname__}: {error}") from error


def unseal_items(codec: Codec, text: str | bytes | Raw) -> bytes:
    """Return the JSON within, like `unseal_json`. Of a list it is that within each item, as of a batch of items."""
    plain = unseal_json(codec, text)
    if not plain.startswith(b"[") or b'"$codec"' not in plain:
        return plain
    return b"[" + b",".join([unseal_json(codec, item) for item in _decode_items(plain)]) + b"]"


def seal(codec: Codec, payload: Any) -> Raw:
    """Return a payload as an App with this codec reads it, for programs that enqueue by the name of a type."""
    return seal_json(codec, strict.encode(payload, "/payload"))


def unseal(codec: Codec, result: Raw, into: type[T]) -> T:
    """Return the result of a job of an App with this codec. Raises CodecFault."""
    return msgspec.json.decode(unseal_json(codec, result), type=into)

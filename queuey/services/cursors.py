"""Cursors: texts for the client that say where the next page of a list begins."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from queuey.errors import Invalid, ParameterFault

MAX_CURSOR: Final = 400
_INVALID: Final = "is invalid; start again without one"
_OF_ANOTHER_LIST: Final = "belongs to another list; send it with the filters that it came with"


class Cursor(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The last entry of a page. `wanted`: a digest of the filters that the cursor is valid for."""

    wanted: bytes


Read = TypeVar("Read", bound=Cursor)


def digest(wanted: Struct) -> bytes:
    """Return the digest of a list's filters."""
    return blake2b(msgspec.msgpack.encode(wanted), digest_size=8).digest()


def encode(cursor: Cursor) -> str:
    """Return the text of a cursor."""
    return urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode().rstrip("=")


def decode(text: str, kind: type[Read], wanted: Struct, is_possible: Callable[[Read], bool]) -> Read:
    """Return the cursor that `text` stands for.

    Raises Invalid for a text that is not a cursor, for a cursor of another list, and for one that is impossible in the
    list. A forged cursor shows its sender nothing that the list would not show.
    """
    try:
        if len(text) > MAX_CURSOR:
            raise ValueError("too long")
        cursor = msgspec.msgpack.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise _invalid("Invalid cursor. Start again without one.", _INVALID) from None
    if cursor.wanted != digest(wanted):
        raise _invalid(
            "The cursor belongs to another list. Send it with the filters that it came with.", _OF_ANOTHER_LIST
        )
    if not is_possible(cursor):
        raise _invalid("Invalid cursor. Start again without one.", _INVALID)
    return cursor


def _invalid(message: str, detail: str) -> Invalid:
    return Invalid(message, [ParameterFault("cursor", detail)])

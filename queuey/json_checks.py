"""What must hold for a JSON text before it is decoded, and for a payload that a worker decodes later.

The decoder alone would not do: a value that is kept as its text is passed over, invalid UTF-8 and numbers of any size
with it, and deep nesting exhausts the stack.
"""

from __future__ import annotations

from typing import Final

import msgspec

from queuey.errors import Fault, Invalid, Malformed
from queuey.schema_faults import to_pointer

_BRACKETS: Final = b"[]{}"
_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS)

_decode_any = msgspec.json.Decoder().decode


def check_text(text: bytes, depth: int) -> None:
    """Check that it is UTF-8, and nested at most `depth` levels deep. Raises Malformed."""
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"The body is not UTF-8: byte {error.start} begins no character.") from None
    if is_deeper(text, depth):
        raise Malformed(f"The JSON is nested deeper than the {depth} levels that are allowed.")


def is_deeper(text: bytes, depth: int) -> bool:
    """Whether arrays and objects are nested more than `depth` levels deep.

    The time taken is linear in the length, whatever the text is. A text whose brackets do not match may be answered
    either way: False is left to the decoder, which finds at most twice the depth in it.
    """
    if text.count(b"[") + text.count(b"{") <= depth:
        return False
    brackets = _without_strings(text).translate(_TO_SQUARE, _NO_BRACKETS)
    for _ in range(depth):
        if not brackets:
            return False
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            return len(brackets) > depth
        brackets = shorter
    return bool(brackets)


def _without_strings(text: bytes) -> bytes:
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(text.split(b'"')[::2])


def check_payload(payload: bytes) -> None:
    """Check that a worker can decode it. Raises Malformed or Invalid.

    That is more than JSON's grammar: half a surrogate pair is no text, and 1e999 fits no number.
    """
    try:
        _decode_any(payload)
    except msgspec.ValidationError as error:
        pointer = "/payload" + to_pointer(str(error))
        detail = "holds a number that is out of range: integers of up to 4,300 digits and 64-bit floats are allowed"
        raise Invalid(f"{pointer} {detail}.", [Fault(pointer, detail)]) from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The payload is not JSON: {why_not_json(error)}.") from None


def why_not_json(error: msgspec.DecodeError) -> str:
    """The decoder's reason, with the position where it gives one."""
    return str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", "it ends too early")

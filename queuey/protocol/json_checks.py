"""What must hold for a JSON text before it is decoded, and for a payload that a worker decodes later.

The decoder alone would not do: a value that is kept as its text is passed over, invalid UTF-8 and numbers of any size
with it, and deep nesting exhausts the stack.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

import msgspec

from queuey.errors import Fault, Invalid, Malformed
from queuey.protocol.schema_faults import to_pointer

_BRACKETS: Final = b"[]{}"
_UP_AND_DOWN: Final = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")  # as signed bytes: 1 and -1
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

    The time taken is linear in the length, whatever the text is. In a text that is not JSON only what stands before
    the fault counts, and that is as far as a decoder gets.
    """
    if text.count(b"[") + text.count(b"{") <= depth:
        return False
    steps = _without_strings(text).translate(_UP_AND_DOWN, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > depth


def _without_strings(text: bytes) -> bytes:
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(text.split(b'"')[::2])


def check_payload(payload: bytes, field: str = "payload") -> None:
    """Check that whoever reads it can decode it. `field` is what it is called. Raises Malformed or Invalid.

    That is more than JSON's grammar: half a surrogate pair is no text, and 1e999 fits no number.
    """
    try:
        _decode_any(payload)
    except msgspec.ValidationError as error:
        pointer = f"/{field}" + to_pointer(str(error))
        detail = "holds a number that is out of range: integers of up to 4,300 digits and 64-bit floats are allowed"
        raise Invalid(f"{pointer} {detail}.", [Fault(pointer, detail)]) from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The {field} is not JSON: {why_not_json(error, payload)}.") from None


def why_not_json(error: msgspec.DecodeError, text: bytes) -> str:
    """The decoder's reason, with the position where it gives one."""
    reason = str(error).removeprefix("JSON is malformed: ")
    if reason != "Input data was truncated":
        return reason
    return "it ends too early" + (", or has half a surrogate pair" if b"\\ud" in text.lower() else "")

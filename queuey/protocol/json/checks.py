"""Checks of a JSON text before it is decoded, its decoding, and checks of a payload that a worker decodes later.

The decoder is not enough: it skips a value that is kept as text, which may contain invalid UTF-8 and numbers of any
size, and deep nesting exhausts the stack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from queuey.errors import Fault, Invalid, Malformed
from queuey.protocol.allowed import Form
from queuey.protocol.schema_faults import Check, explain, to_pointer, with_all_faults

Decoded = TypeVar("Decoded")

_BRACKETS: Final = b"[]{}"
_UP_AND_DOWN: Final = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")  # as signed bytes: 1 and -1
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS)

_POSITION: Final = re.compile(r"\(byte (\d+)\)")
_NO_VALUE: Final = re.compile(rb"NaN|Infinity|None|True|False|undefined")
"""Values of programming languages that JSON does not have, and that programs write nevertheless."""

_decode_any = msgspec.json.Decoder().decode


def check_text(text: bytes, depth: int, around: int = 0) -> None:
    """Check that the text is UTF-8, and nested at most `depth` levels deep. Raises Malformed.

    `around` is the number of levels that a request may have around a payload or result, and that no message counts.
    """
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"The body is not UTF-8: byte {error.start} does not begin a character.") from None
    if is_deeper(text, depth + around):
        raise Malformed(f"The JSON is nested too deep: {depth} levels are allowed.")


def decode_body(decoder: msgspec.json.Decoder[Decoded], text: bytes | Raw, form: Form, *checks: Check) -> Decoded:
    """Decode a body, and run the checks that the schema cannot make.

    Raises Malformed; Invalid, which names every fault in the words of the form; and what the checks raise.
    """
    try:
        value = decode(decoder, text, form)
        for check in checks:
            check.run(value)
    except Invalid as error:
        raise with_all_faults(error, text, form, *checks) from None
    return value


def decode(decoder: msgspec.json.Decoder[Decoded], text: bytes | Raw, form: Form) -> Decoded:
    """Decode a body. Raises Malformed, or Invalid, which names the first fault."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise explain(error, form) from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not JSON: {why_not_json(error, bytes(text))}.") from None


def is_deeper(text: bytes, depth: int) -> bool:
    """Return whether arrays and objects are nested more than `depth` levels deep.

    The time taken is linear in the length of any text. In a text that is not JSON only the part before the fault
    counts, since a decoder stops there.
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
    """Check that a worker can decode the payload. `field` is its name in errors. Raises Malformed or Invalid.

    JSON's grammar allows more: half a surrogate pair is not text, and 1e999 is too large for a number.
    """
    try:
        _decode_any(payload)
    except msgspec.ValidationError as error:
        pointer = f"/{field}" + to_pointer(str(error))
        detail = "contains a number that is out of range. Allowed: integers of up to 4,300 digits, and 64-bit floats"
        raise Invalid(f"{pointer} {detail}.", [Fault(pointer, detail)]) from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The {field} is not JSON: {why_not_json(error, payload)}.") from None


def are_payloads(texts: Sequence[str]) -> bool:
    """Return whether `check_payload` allows each of these JSON values, with one decode of all.

    The texts must be whole values, as a decoder keeps them. Joined with commas they are then one array, whose decoder
    reads each of them in the same way. The array is one level deeper, so False may also mean that it is too deep.
    """
    try:
        _decode_any(f"[{','.join(texts)}]")
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def why_not_json(error: msgspec.DecodeError, text: bytes) -> str:
    """Return the decoder's reason, with the position if it has one."""
    reason = str(error).removeprefix("JSON is malformed: ")
    if (at := _POSITION.search(reason)) and (word := _NO_VALUE.match(text, int(at[1]))):
        return f"JSON has no value {word[0].decode()} {at[0]}"
    if reason != "Input data was truncated":
        return reason
    return "it ends too early" + (", or contains half a surrogate pair" if b"\\ud" in text.lower() else "")

"""The `traceparent` of W3C's Trace Context, which links a job to the trace in which it was submitted.

https://www.w3.org/TR/trace-context/: `00-<trace id>-<span id>-<flags>`, in hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from opentelemetry.trace import SpanContext, TraceFlags, get_current_span

HEADER: Final = "traceparent"
PATTERN: Final = r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z"

_RAW_HEADER: Final = HEADER.encode()
_ANY_VERSION: Final = re.compile(rb"(?!ff)[0-9a-f]{2}(-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})(-.*)?")
_OUR_VERSION: Final = re.compile(PATTERN)


def from_headers(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the traceparent of a request, or None if it is missing, or invalid, which the standard says to ignore."""
    header = headers.get(_RAW_HEADER)
    if header is None:
        return None
    found = _ANY_VERSION.fullmatch(header)
    if found is None or (found[2] and header.startswith(b"00")):  # only a later version may have further parts
        return None
    traceparent = "00" + found[1].decode()
    return traceparent if _OUR_VERSION.match(traceparent) else None


def current() -> str | None:
    """Return the traceparent of the current span, or None outside of a span."""
    context = get_current_span().get_span_context()
    return write(context) if context.is_valid else None


def write(context: SpanContext) -> str:
    """Return the traceparent of a span."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 0xFF:02x}"


def read(traceparent: str | None) -> SpanContext | None:
    """Return the span of a traceparent, as a remote one. Return None if it is missing or not valid."""
    if traceparent is None or not _OUR_VERSION.match(traceparent):
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))

"""The W3C Trace Context's `traceparent`, by which a job remembers the trace of whoever submitted it.

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
_OF_ANY_VERSION: Final = re.compile(rb"(?!ff)[0-9a-f]{2}(-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})(-.*)?")
_OF_OURS: Final = re.compile(PATTERN)


def from_headers(headers: Mapping[bytes, bytes]) -> str | None:
    """That of a request. None without one, and for one that cannot be read, which the standard has ignored."""
    header = headers.get(_RAW_HEADER)
    if header is None:
        return None
    found = _OF_ANY_VERSION.fullmatch(header)
    if found is None or (found[2] and header.startswith(b"00")):  # a later version may say more
        return None
    traceparent = "00" + found[1].decode()
    return traceparent if _OF_OURS.match(traceparent) else None


def current() -> str | None:
    """That of the span which the calling code is in; None outside of one."""
    context = get_current_span().get_span_context()
    return write(context) if context.is_valid else None


def write(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def read(traceparent: str | None) -> SpanContext | None:
    """The span that it names, as one of another process. None for what is none."""
    if traceparent is None or not _OF_OURS.match(traceparent):
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))

from __future__ import annotations

import pytest
from opentelemetry.context import attach, detach
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from queuey.protocol import traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_a_readable_header_is_taken() -> None:
    assert traceparent.from_headers({b"traceparent": GOOD.encode()}) == GOOD
    assert traceparent.from_headers({}) is None


@pytest.mark.parametrize("header", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-the-future-brings"])
def test_a_later_version_is_read_as_ours(header: str) -> None:
    assert traceparent.from_headers({b"traceparent": header.encode()}) == GOOD


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"01-{'0' * 32}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        "x" * 100_000,
        "00-\xff",
    ],
)
def test_what_cannot_be_read_is_none(header: str) -> None:
    assert traceparent.from_headers({b"traceparent": header.encode("latin-1")}) is None
    assert traceparent.read(header if header.startswith("00") else None) is None


def test_it_names_a_span_of_another_process() -> None:
    context = traceparent.read(GOOD)
    assert context is not None
    assert (f"{context.trace_id:x}", f"{context.span_id:x}") == (TRACE.lstrip("0"), SPAN)
    assert context.is_remote
    assert context.trace_flags.sampled
    assert traceparent.write(context) == GOOD


def test_the_span_that_the_code_is_in() -> None:
    assert traceparent.current() is None
    context = traceparent.read(GOOD)
    assert context is not None
    token = attach(set_span_in_context(NonRecordingSpan(context)))
    try:
        assert traceparent.current() == GOOD
    finally:
        detach(token)
    assert traceparent.current() is None

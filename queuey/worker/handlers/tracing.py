"""Spans of handlers, by OpenTelemetry: one for each attempt, linked to the span in which its job was submitted.

OpenTelemetry's API is always there and does nothing; its SDK makes the spans and sends them. Whether there is an SDK is
checked once, before handlers start: without it, no job costs anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from opentelemetry import trace
from opentelemetry.context import Context, attach

from queuey import log
from queuey.protocol import traceparent
from queuey.version import __version__
from queuey.worker.handlers.attempt import Failed, Outcome, Work

Tracing = Literal["link", "child", "off"]
"""The place of a handler's span: in its own trace with a link to the submitter's span, as its child, or nowhere."""
SERVICE: Final = "queuey"

logger = log.get(__name__)


def send_spans() -> None:
    """Set up an SDK that sends spans by OTLP over HTTP, unless the program has set one up.

    The variables OTEL_* configure it, including the address. Spans that wait are sent when the process ends.
    """
    if _has_sdk():
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        logger.warning("tracing_unavailable", error=str(error), advice="pip install 'queuey-server[otel]'")
        return
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def _has_sdk() -> bool:
    return not isinstance(trace.get_tracer_provider(), (trace.ProxyTracerProvider, trace.NoOpTracerProvider))


class HandlerSpan:
    """The span of one running attempt."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def ended(self, outcome: Outcome) -> None:
        """Record the outcome. A failure's message is left out: it may quote the payload, and the job keeps it."""
        if isinstance(outcome, Failed):
            self.failed(outcome.kind)

    def failed(self, kind: str) -> None:
        """Record the kind of a failure. A snooze is none."""
        if kind != "snooze":
            self._span.set_attribute("error.type", kind)
            self._span.set_status(trace.StatusCode.ERROR)


class HandlerSpans:
    """Makes the spans of one worker's attempts.

    Names and attributes follow OpenTelemetry's conventions for messaging, with one exception: the name has the job's
    type in place of the queue, since a queue may hold jobs of many types.
    """

    def __init__(self, tracer: trace.Tracer, tracing: Tracing) -> None:
        self._tracer = tracer
        self._tracing = tracing

    @contextmanager
    def of(self, work: Work) -> Iterator[HandlerSpan]:
        """Put the calling task into the span of this attempt."""
        submitter = traceparent.read(work.traceparent)
        context, links = Context(), []
        if submitter is not None and self._tracing == "child":
            context = trace.set_span_in_context(trace.NonRecordingSpan(submitter), context)
        elif submitter is not None:
            links = [trace.Link(submitter)]
        with self._tracer.start_as_current_span(
            f"process {work.type}",
            context,
            trace.SpanKind.CONSUMER,
            {
                "messaging.system": SERVICE,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": work.queue,
                "messaging.message.id": work.id,
                "queuey.job.type": work.type,
                "queuey.job.attempt": work.attempt,
            },
            links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            if span.get_span_context().is_valid:  # not without an SDK
                work.span = traceparent.write(span.get_span_context())
            yield HandlerSpan(span)


def handler_spans(tracing: Tracing) -> HandlerSpans | None:
    """Return the maker of spans; None when there is no SDK, or it is switched off, or no spans are wanted."""
    if tracing == "off" or not _has_sdk():
        return None
    tracer = trace.get_tracer_provider().get_tracer(SERVICE, __version__)
    return None if isinstance(tracer, trace.NoOpTracer) else HandlerSpans(tracer, tracing)


def enter(span: str) -> None:
    """Put the calling code into a span of another process, for as long as its context lasts."""
    context = traceparent.read(span)
    if context is not None:
        attach(trace.set_span_in_context(trace.NonRecordingSpan(context)))

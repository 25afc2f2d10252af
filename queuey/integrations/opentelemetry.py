"""Spans of handlers as a middleware, with a provider of the App's own: `pip install 'queuey-server[otel]'`.

    opentelemetry.install(app, provider)

A server or worker that sends spans by itself (docs/tracing.md) needs no middleware. Where it does, this one adds none.
"""

from __future__ import annotations

from opentelemetry import trace

from queuey.version import __version__
from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context
from queuey.worker.handlers.tracing import SERVICE, HandlerSpans, Tracing
from queuey.worker.hooks.outcome import Middleware


def install(app: App, provider: trace.TracerProvider | None = None, *, tracing: Tracing = "link") -> None:
    """Put each run of an App into a span, as a server does that sends spans by itself.

    `provider` makes the spans; None means the one that the program has set. Register it before other middleware, so
    that they are within the span. Jobs that handlers enqueue are linked to it.
    """
    if tracing != "off":
        app.middleware(SpanPerRun(provider, tracing))
        app.hooks.has_spans = True


class SpanPerRun:
    """A middleware that puts each run into a span: that of the attempt, unless the worker has made one."""

    def __init__(self, provider: trace.TracerProvider | None, tracing: Tracing) -> None:
        self._spans = HandlerSpans(trace.get_tracer(SERVICE, __version__, provider), tracing)

    def __call__(self, ctx: Context) -> Middleware:
        """Run the handler in a span. After a failure it has the status ERROR and the kind of the failure."""
        work = ctx._work
        if work.span is not None:
            yield
            return
        with self._spans.of(work) as span:
            outcome = yield
            if outcome.status != "succeeded":
                span.failed(outcome.status)

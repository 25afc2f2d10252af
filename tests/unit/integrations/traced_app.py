"""An App with a provider of its own, whose spans are exported only when the process ends: to the file of a variable."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from queuey import App, Retry
from queuey.integrations import opentelemetry
from queuey.protocol import traceparent

FILE = "SPANS_FILE"
AT_THE_END = 3_600_000


class ToFile(SpanExporter):
    """Appends each span to the file, as a line of JSON."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with Path(os.environ[FILE]).open("a") as file:
            file.writelines(span.to_json(indent=None) + "\n" for span in spans)
        return SpanExportResult.SUCCESS


def _run(how: str) -> list[object]:
    with provider.get_tracer("handler").start_as_current_span("inside"):
        if how == "retry":
            raise Retry("as planned")
        return [os.getpid(), traceparent.current()]


provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ToFile(), schedule_delay_millis=AT_THE_END))
app = App()
opentelemetry.install(app, provider)


@app.job("process", run_in="process")
def in_process(how: str) -> list[object]:
    return _run(how)


@app.job("thread")
def in_thread(how: str) -> list[object]:
    return _run(how)


@app.job("loop")
async def in_loop(how: str) -> list[object]:
    return _run(how)

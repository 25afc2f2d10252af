"""Spans by a middleware, with the real SDK and its exporter that keeps them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from queuey import App, Context, Retry, Testing
from queuey.integrations import opentelemetry
from queuey.protocol import traceparent
from queuey.worker.handlers.attempt import Failed, Succeeded, Work
from queuey.worker.handlers.tracing import Tracing
from tests.support.executions import executing, make_work
from tests.unit.integrations import traced_app

SUBMITTER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def one(self) -> ReadableSpan:
        (span,) = self.exporter.get_finished_spans()
        self.exporter.clear()
        return span


def traced(provider: TracerProvider | None, tracing: Tracing = "link") -> App:
    app = App()
    opentelemetry.install(app, provider, tracing=tracing)

    @app.job("loop")
    async def in_loop(how: str) -> str | None:
        return act(how)

    @app.job("thread", queue="slow")
    def in_thread(how: str, ctx: Context) -> str | None:
        return act(how)

    return app


def act(how: str) -> str | None:
    if how == "retry":
        raise Retry("as planned")
    if how == "error":
        raise ValueError("a secret")
    return traceparent.current()


def submitted(type: str, how: str = "ok") -> Work:
    work = make_work(type, f'"{how}"', attempt=2)
    work.traceparent = SUBMITTER
    return work


@pytest.mark.parametrize("type", ["loop", "thread"])
async def test_a_run_is_in_a_span_linked_to_the_submitters(type: str) -> None:
    spans = Spans()
    async with executing(traced(spans.provider), None) as execution:
        assert execution.is_traced
        outcome = await execution.run(submitted(type))
    span = spans.one()
    assert (span.name, span.kind, span.parent) == (f"process {type}", SpanKind.CONSUMER, None)
    assert span.context is not None
    assert traceparent.write(span.context) in str(outcome)
    assert span.attributes is not None
    assert span.attributes["messaging.message.id"] == "job-1"
    assert span.attributes["queuey.job.attempt"] == 2
    assert [traceparent.write(link.context) for link in span.links] == [SUBMITTER]
    assert span.status.status_code is StatusCode.UNSET


async def test_or_is_its_child() -> None:
    spans = Spans()
    async with executing(traced(spans.provider, "child"), None) as execution:
        await execution.run(submitted("loop"))
    assert (span := spans.one()).parent == traceparent.read(SUBMITTER)
    assert not span.links


@pytest.mark.parametrize("type", ["loop", "thread"])
async def test_a_failure_is_told_by_its_kind(type: str) -> None:
    spans = Spans()
    async with Testing(traced(spans.provider)) as testing:
        for kind in ("error", "retry"):
            await testing.run(type, kind)
            span = spans.one()
            assert span.attributes is not None
            assert span.attributes["error.type"] == kind
            assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())


async def test_where_the_worker_makes_the_span_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = Spans()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: spans.provider)
    async with executing(traced(spans.provider), None) as execution:
        await execution.run(submitted("loop"))
    assert spans.one().name == "process loop"


async def test_without_an_sdk_it_does_nothing() -> None:
    async with executing(traced(None), None) as execution:
        work = submitted("loop")
        await execution.run(work)
    assert work.span is None
    app = App()
    opentelemetry.install(app, tracing="off")
    assert not app.hooks.has_spans


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of the spans of child processes."""
    file = tmp_path / "spans.jsonl"
    monkeypatch.setenv(traced_app.FILE, str(file))
    yield file
    traced_app.provider.shutdown()  # that of this process, with its thread


@pytest.mark.parametrize(
    ("type", "isolated"), [("process", False), ("process", True), ("thread", True), ("loop", True)]
)
async def test_a_child_process_exports_its_spans_before_it_ends(exported: Path, type: str, isolated: bool) -> None:
    async with executing(traced_app.app, f"{traced_app.__name__}:app") as execution:
        outcomes = []
        for how in ("ok", "retry"):
            work = submitted(type, how)
            work.isolated = isolated
            outcomes.append(await execution.run(work))
    succeeded, failed = outcomes
    assert isinstance(succeeded, Succeeded)
    assert isinstance(failed, Failed)
    pid, current = json.loads(succeeded.result_json)
    assert pid != os.getpid()
    spans = sorted(map(json.loads, exported.read_text().splitlines()), key=itemgetter("start_time"))
    run, inside, retried, _ = spans
    assert [span["name"] for span in spans] == [f"process {type}", "inside"] * 2
    assert inside["parent_id"] == run["context"]["span_id"]
    assert ids_of(inside) == current.split("-")[1:3]
    assert (run["parent_id"], [ids_of(link) for link in run["links"]]) == (None, [SUBMITTER.split("-")[1:3]])
    assert (run["attributes"]["messaging.message.id"], run["attributes"]["queuey.job.attempt"]) == ("job-1", 2)
    assert (run["status"], retried["status"]) == ({"status_code": "UNSET"}, {"status_code": "ERROR"})
    assert retried["attributes"]["error.type"] == failed.kind == "retry"


def ids_of(of: dict[str, Any]) -> list[str]:
    """The ids of the trace and the span of an exported span or link."""
    return [of["context"][name].removeprefix("0x") for name in ("trace_id", "span_id")]

"""Spans of handlers, with the SDK's exporter that keeps them; and that there is nothing without an SDK."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import msgspec
import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from queuey import __version__
from queuey.protocol import traceparent
from queuey.settings.settings import sends_spans
from queuey.worker.handlers import tracing
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Outcome, Succeeded
from tests.support import handlers
from tests.support.executions import executing, make_work
from tests.support.handlers import Deed

MODES = ("loop", "thread", "process")
SUBMITTER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans:
    """What has been exported, by an SDK of the test's own."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def ended(self) -> list[ReadableSpan]:
        spans = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        return spans

    def one(self) -> ReadableSpan:
        (span,) = self.ended()
        return span


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    spans = Spans()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: spans.provider)
    return spans


def name_of(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return traceparent.write(context)


def result(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return msgspec.json.decode(outcome.result_json)


@pytest.mark.parametrize("mode", MODES)
class TestEveryMode:
    async def test_the_handler_is_in_a_span_linked_to_the_submitters(self, spans: Spans, mode: str) -> None:
        work = make_work(mode, Deed("span"), attempt=2)
        work.traceparent = SUBMITTER
        async with executing() as execution:
            seen = result(await execution.run(work))
        span = spans.one()
        assert seen == name_of(span)
        assert (span.name, span.kind, span.parent) == (f"process {mode}", SpanKind.CONSUMER, None)
        assert span.attributes == {
            "messaging.system": "queuey",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": "default",
            "messaging.message.id": "job-1",
            "queuey.job.type": mode,
            "queuey.job.attempt": 2,
        }
        assert [traceparent.write(link.context) for link in span.links] == [SUBMITTER]
        assert span.status.status_code is StatusCode.UNSET
        assert span.instrumentation_scope is not None
        assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("queuey", __version__)

    async def test_or_is_its_child(self, spans: Spans, mode: str) -> None:
        work = make_work(mode, Deed("span"))
        work.traceparent = SUBMITTER
        async with executing(tracing="child") as execution:
            assert result(await execution.run(work)) == name_of(span := spans.one())
        assert span.parent == traceparent.read(SUBMITTER)
        assert not span.links

    async def test_of_a_job_that_knows_no_submitter(self, spans: Spans, mode: str) -> None:
        for how in ("link", "child"):
            async with executing(tracing=how) as execution:
                assert result(await execution.run(make_work(mode, Deed("span")))) == name_of(span := spans.one())
            assert (span.parent, list(span.links)) == (None, [])

    async def test_a_failure_is_told_by_its_kind_alone(self, spans: Spans, mode: str) -> None:
        async with executing() as execution:
            for name, kind in (("fail", "error"), ("retry", "retry"), ("object", "result_not_json")):
                await execution.run(make_work(mode, Deed(name)))
                span = spans.one()
                assert span.attributes is not None
                assert span.attributes["error.type"] == kind
                assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
                assert not span.events  # an exception's text may quote the payload

    async def test_no_span_where_none_is_wanted(self, spans: Spans, mode: str) -> None:
        async with executing(tracing="off") as execution:
            assert not execution.is_traced
            assert result(await execution.run(make_work(mode, Deed("span")))) is None
        assert not spans.ended()


async def test_what_no_handler_ran_is_told_too(spans: Spans) -> None:
    async with executing() as execution:
        await execution.run(make_work("never-heard-of"))
        assert (spans.one().attributes or {})["error.type"] == "unknown_type"
        await execution.run(make_work("loop", "not a deed"))
        assert (spans.one().attributes or {})["error.type"] == "payload"


async def test_what_is_stopped_ends_its_span(spans: Spans) -> None:
    app = App()

    @app.job("stuck")
    async def stuck(payload: Any) -> None:
        await asyncio.Event().wait()

    async with executing(app, None) as execution:
        await execution.run(make_work("stuck", timeout=0.01))
        assert (spans.one().attributes or {})["error.type"] == "timeout"
        running = asyncio.ensure_future(execution.run(make_work("stuck")))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    spans.one()


async def test_spans_do_not_leak_from_one_job_into_another(spans: Spans) -> None:
    """Jobs that end at once run one after the other in one task, and those that wait side by side."""
    app, meet = App(), asyncio.Event()

    @app.job("meeting")
    async def meeting(last: bool) -> list[str | None]:
        before = traceparent.current()
        if last:
            meet.set()
        await meet.wait()
        return [before, traceparent.current()]

    async with executing(app, None) as execution:
        outcomes = await asyncio.gather(*(execution.run(make_work("meeting", n == 4)) for n in range(5)))
        seen = [result(outcome) for outcome in outcomes]
        assert traceparent.current() is None
    assert all(before == after for before, after in seen)
    assert sorted(before for before, _ in seen) == sorted(map(name_of, spans.ended()))


async def test_what_the_handlers_code_makes_is_within(spans: Spans) -> None:
    app = App()

    @app.job("busy")
    async def busy(payload: Any) -> None:
        with spans.provider.get_tracer("test").start_as_current_span("inner"):
            await asyncio.sleep(0)

    async with executing(app, None) as execution:
        await execution.run(make_work("busy"))
    inner, outer = spans.ended()
    assert inner.parent == outer.get_span_context()


async def test_a_forged_traceparent_in_the_store_is_nothing(spans: Spans) -> None:
    work = make_work("loop", Deed("span"))
    work.traceparent = "00-forged"
    async with executing() as execution:
        await execution.run(work)
    assert not spans.one().links


async def test_an_app_may_set_up_its_sdk_in_its_lifespan(monkeypatch: pytest.MonkeyPatch) -> None:
    spans, provider = Spans(), [trace.get_tracer_provider()]
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider[0])

    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def lifespan(_: App) -> AsyncIterator[None]:
        provider[0] = spans.provider
        yield

    app = App(lifespan=lifespan)

    @app.job("any")
    async def any_(payload: Any) -> None: ...

    async with executing(app, None) as execution:
        await execution.run(make_work("any"))
    assert spans.one().name == "process any"


# --- without an SDK -------------------------------------------------------------------------------------------------


@pytest.fixture
def called() -> Iterator[set[str]]:
    """Files whose functions are called while the test runs, also in threads that it starts."""
    files: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            files.add(frame.f_code.co_filename)

    sys.setprofile(note)
    threading.setprofile(note)
    yield files
    sys.setprofile(None)
    threading.setprofile(None)


async def test_nothing_is_done_for_any_job(called: set[str]) -> None:
    work = make_work("loop", Deed("echo"))
    work.traceparent = SUBMITTER
    async with executing() as execution:
        assert not execution.is_traced
        called.clear()
        await execution.run(work)
        await execution.run(make_work("thread", Deed("echo")))
        during = sorted(called)
    assert handlers.__file__ in during
    ours = (tracing.__file__, traceparent.__file__)
    assert [file for file in during if file in ours or "opentelemetry" in file] == []


def test_one_that_is_switched_off_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setattr(trace, "get_tracer_provider", Spans().provider.__class__)
    assert tracing.handler_spans("link") is None


# --- sending them --------------------------------------------------------------------------------------------------


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """What has been set as the provider of the whole process, which the test does not do."""
    made: list[Any] = []
    monkeypatch.setattr(trace, "set_tracer_provider", made.append)
    return lambda: made[0] if made else None


def test_the_environment_alone_can_set_it_up(monkeypatch: pytest.MonkeyPatch, provider: Callable[[], Any]) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing.send_spans()
    assert isinstance(provider(), TracerProvider)
    assert provider().resource.attributes["service.name"] == "queuey"
    provider().shutdown()


def test_a_service_name_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch, provider: Callable[[], Any]) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=thumbnails")
    tracing.send_spans()
    assert provider().resource.attributes["service.name"] == "thumbnails"
    provider().shutdown()


def test_one_that_is_there_is_left_alone(spans: Spans, provider: Callable[[], Any]) -> None:
    tracing.send_spans()
    assert provider() is None


def test_without_the_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, provider: Callable[[], Any]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with structlog.testing.capture_logs() as logs:
        tracing.send_spans()
    assert provider() is None
    assert [line["event"] for line in logs] == ["tracing_unavailable"]
    assert logs[0]["advice"] == "pip install 'queuey-server[otel]'"


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
async def test_only_who_is_told_to_sends(provider: Callable[[], Any], name: str) -> None:
    assert sends_spans({name: "http://127.0.0.1:9"})
    assert not sends_spans({name: "", "OTEL_SERVICE_NAME": "x"})
    async with executing():
        assert provider() is None
    async with executing(sends_spans=True):
        assert isinstance(provider(), TracerProvider)
    provider().shutdown()

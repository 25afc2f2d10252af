"""`queuey serve` sends the spans of its handlers to a collector that the environment names."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.conftest import Serve
from tests.support.serving import Serving, eventually

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self._spans: list[tuple[str, Any]] = []
        outer = self

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._take(self.path, self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            (service,) = (a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                self._spans += [(service, span) for span in scope.spans]

    def span(self, name: str) -> Any:
        """The span of this name, once it has come."""
        eventually(lambda: any(span.name == name for _, span in self._spans), lambda: f"there are {self._spans}")
        ((service, span),) = [(service, span) for service, span in self._spans if span.name == name]
        assert service == "queuey"
        return span

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def traced(serve: Serve, collector: Collector, *flags: str) -> Serving:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    return serve(*flags, variables=variables)


def test_spans_go_to_the_collector(serve: Serve, collector: Collector) -> None:
    server = traced(serve, collector)
    reply = server.http.post(
        "/v1/jobs", json={"type": "forward", "payload": 1}, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"}
    )
    echoed = server.until(reply.json()["job_id"])["result"]
    forward = collector.span("process forward")
    (link,) = forward.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (TRACE, SPAN)
    echo = collector.span("process echo")  # which the handler has enqueued
    (link,) = echo.links
    assert (link.trace_id, link.span_id) == (forward.trace_id, forward.span_id)
    assert server.job(echoed)["traceparent"][:-3] == f"00-{link.trace_id.hex()}-{link.span_id.hex()}"


def test_what_a_process_of_its_own_does_is_within(serve: Serve, collector: Collector) -> None:
    server = traced(serve, collector, "--tracing", "child")
    job = {"type": "span.process", "payload": "inner", "traceparent": f"00-{TRACE}-{SPAN}-01"}
    server.until(server.http.post("/v1/jobs", json=job).json()["job_id"])
    outer, inner = collector.span("process span.process"), collector.span("inner")
    assert (outer.trace_id.hex(), outer.parent_span_id.hex()) == (TRACE, SPAN)
    assert (inner.trace_id, inner.parent_span_id) == (outer.trace_id, outer.span_id)


def test_what_waits_is_sent_when_the_server_ends(serve: Serve, collector: Collector) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    server = serve(variables=variables)
    server.until(server.submit("echo"))
    assert server.stop() == 0
    collector.span("process echo")

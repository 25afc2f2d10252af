"""POST /v1/jobs without ASGI, for requests whose head has come before (docs/adr/0017-direct-path.md).

A head is remembered byte for byte once the parser has read it and the endpoint has admitted its caller. The same bytes
are the same request with another body. A request that differs in anything, or that the endpoint would refuse, takes
the way through the parser and ASGI, which answers it as if this module did not exist.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, Final, cast

from msgspec import Struct
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from queuey.api.http.body import Headers
from queuey.api.http.problems import problem_response
from queuey.api.routes.submit import SubmitJob, log_enqueued, reply_to
from queuey.errors import QueueyError
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.protocol.credentials import Principal
from queuey.protocol.models import EnqueueReply
from queuey.protocol.records import NewJob
from queuey.server.http.connections import Connection, written
from queuey.services.jobs.producer import Words, outcome_of

MAX_HEADS: Final = 1024
MAX_HEAD: Final = 1024
"""Maximum bytes of a head that is remembered, so that all of them take about 1 MB."""

_FIRST_LINE: Final = b"POST /v1/jobs HTTP/1.1\r\n"
_BLANK_LINE: Final = b"\r\n\r\n"
_KEEP_ALIVE: Final = b"keep-alive"
_UNUSUAL: Final = frozenset(
    {b"expect", b"idempotency-key", b"prefer", b"te", b"traceparent", b"trailer", b"transfer-encoding", b"upgrade"}
)
"""Headers that ask for more than this module does, or that change what follows."""
_SCOPE: Final = {"method": SubmitJob.method, "path": SubmitJob.path}
_SAMPLE_ID: Final = "0" * ids.LENGTH
_UNWATCHED: Final = asyncio.Event()

_parse = Connection.data_received
_on_message_begin = Connection.on_message_begin
_on_message_complete = Connection.on_message_complete

DefaultHeaders = list[tuple[bytes, bytes]]


class Head(Struct, frozen=True, gc=False):
    """A head that is remembered: its caller, and the number of bytes of the request with its body."""

    caller: Principal
    size: int


class Direct:
    """The heads that are remembered for all connections of a process, and the replies to their requests.

    They belong to the endpoint's Gate, and so to one set of credentials: another one begins without any.
    """

    def __init__(self, endpoint: SubmitJob, metrics: Metrics) -> None:
        self.endpoint = endpoint
        self.meter = metrics.of_route(endpoint.method, endpoint.path)
        self._hits = metrics.direct.cell(())
        self._gate = endpoint.gate
        self._known: dict[bytes, Head] = {}
        self._defaults: DefaultHeaders | None = None
        self._replies: dict[tuple[bool, bool], list[bytes]] = {}

    @property
    def heads(self) -> int:
        """The number of heads that are remembered."""
        return len(self._known)

    def find(self, head: bytes) -> Head | None:
        """Return what is remembered of a head, or None."""
        if self.endpoint.gate is not self._gate:
            self._gate = self.endpoint.gate
            self._known.clear()
        return self._known.get(head)

    def remember(self, head: bytes, headers: Headers, size: int) -> None:
        """Remember a head that the parser has read, unless it is unusual or refused. `size`: with its body."""
        if headers.keys() & _UNUSUAL or headers.get(b"connection", _KEEP_ALIVE).lower() != _KEEP_ALIVE:
            return
        length = size - len(head)
        if headers.get(b"content-length") != b"%d" % length or length > self.endpoint.body_limit:
            return
        if self.endpoint.gate.may_be_visitor(headers):
            return
        try:
            caller = self.endpoint.admit(headers)
        except QueueyError:
            return
        if len(self._known) >= MAX_HEADS:
            self._known.clear()
        self._known[head] = Head(caller, size)

    def take(self, connection: DirectConnection, head: Head, body: bytes) -> bool:
        """Submit the job of a request. Returns False, and has done nothing, if the endpoint must answer it."""
        request = DirectRequest(self, connection)
        try:
            request.type, request.job = self.endpoint.submit(head.caller, body, request.answered)
        except Exception:  # the endpoint raises it again, and makes the reply
            return False
        self._hits[0] += 1
        connection.cycle = cast(RequestResponseCycle, request)
        return True

    def reply(self, outcome: EnqueueReply, defaults: DefaultHeaders, keep_alive: bool) -> bytes:
        """Return the endpoint's reply as it is written. Replies differ only by the id, until the date changes."""
        if defaults is not self._defaults:  # uvicorn makes another list for each second
            self._defaults = defaults
            self._replies.clear()
        around = self._replies.get((outcome.deduplicated, keep_alive))
        if around is None:
            headers, body = reply_to(EnqueueReply(_SAMPLE_ID, outcome.deduplicated))
            text = written(200, [*defaults, *headers], body, keep_alive=keep_alive)
            around = self._replies[outcome.deduplicated, keep_alive] = text.split(_SAMPLE_ID.encode("ascii"))
        return outcome.job_id.encode("ascii").join(around)


class DirectRequest:
    """A request under way. To its connection it looks like uvicorn's cycle, which a request through ASGI has.

    So what comes behind it, the end of what the client sends, and a shutdown are dealt with as for any request.
    """

    __slots__ = (
        *("_began", "_connection", "_direct", "job", "type"),
        *("disconnected", "keep_alive", "message_event", "response_complete", "response_started"),
    )

    type: str
    job: NewJob

    def __init__(self, direct: Direct, connection: DirectConnection) -> None:
        self._direct = direct
        self._connection = connection
        self._began = perf_counter()
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _UNWATCHED
        self.response_started = False
        self.response_complete = False

    def answered(self, answer: Words | None, error: Exception | None) -> None:
        """Write the reply, and let the connection begin the next request."""
        direct, connection = self._direct, self._connection
        del self._connection  # which refers to its last request: without this, only a full collection would free both
        defaults = connection.server_state.default_headers
        try:
            outcome = outcome_of(self.job, answer, error)
            log_enqueued(self.type, self.job.queue, outcome)
            status, text = 200, direct.reply(outcome, defaults, self.keep_alive)
        except Exception as fault:
            response = problem_response(fault, _SCOPE)
            status, text = response.status_code, self._problem(response, defaults)
        direct.meter.answered(status, perf_counter() - self._began)
        self.response_complete = True
        if self.disconnected or connection.transport.is_closing():
            return
        connection.transport.write(text)
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()

    def _problem(self, response: Response, defaults: DefaultHeaders) -> bytes:
        headers = [*defaults, *response.raw_headers]
        return written(response.status_code, headers, bytes(response.body), keep_alive=self.keep_alive)


class DirectConnection(Connection):
    """A connection that takes requests with a known head itself, if nothing else is under way on it."""

    def __init__(self, direct: Direct, *arguments: Any, **uvicorns: Any) -> None:
        super().__init__(*arguments, **uvicorns)
        self._direct = direct
        self._in_message = False
        """Whether the parser has read a part of a request."""

    def on_message_begin(self) -> None:
        self._in_message = True
        _on_message_begin(self)

    def on_message_complete(self) -> None:
        self._in_message = False
        _on_message_complete(self)

    def data_received(self, data: bytes) -> None:
        cycle = cast(RequestResponseCycle | None, self.cycle)
        is_under_way = cycle is not None and not cycle.response_complete  # as the property, which is slower
        if is_under_way or self._in_message or self._unparsed or self.deaf or not data.startswith(_FIRST_LINE):
            _parse(self, data)
            return
        raw = data[: data.find(_BLANK_LINE, 0, MAX_HEAD) + len(_BLANK_LINE)]
        head = self._direct.find(raw)
        if head is None:
            _parse(self, data)
            self._remember(raw, data)
        elif head.size == len(data) and not self.flow.write_paused and self._direct.take(self, head, data[len(raw) :]):
            self._heads += 1
        else:
            _parse(self, data)

    def _remember(self, raw: bytes, data: bytes) -> None:
        """Remember the head of what was parsed, if it was one whole request, after which the connection goes on.

        The head ends where the parser saw its end only if all its lines end alike.
        """
        is_one = self._under_way and not (self.pipeline or self._in_message or self._unparsed or self.deaf)
        is_plain = raw.endswith(_BLANK_LINE) and raw.count(b"\r\n") == raw.count(b"\r") == raw.count(b"\n")
        if is_one and is_plain and self.cycle.keep_alive:
            self._direct.remember(raw, dict(self.scope["headers"]), len(data))

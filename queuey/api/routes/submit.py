"""POST /v1/jobs, in plain ASGI, since it gets most of the requests (docs/adr/0004-plain-asgi.md)."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta
from starlette.types import Receive, Scope, Send

from queuey import log
from queuey.api.http.auth import Gate, require
from queuey.api.http.body import JSON, ClientDisconnected, Headers, media_type, read_body
from queuey.api.http.operations import Operation, Parameter
from queuey.api.http.problems import problem_response
from queuey.api.http.waiting import APPLIED, PREFER, WAIT, Awaited, wanted_wait
from queuey.errors import Full, IdempotencyMismatch, Invalid, KeyHeld, UpgradeInProgress
from queuey.protocol import idempotency, traceparent
from queuey.protocol.credentials import Principal
from queuey.protocol.models import EnqueueReply, Job, JobRequest
from queuey.protocol.records import NewJob
from queuey.protocol.schema_faults import failures, together
from queuey.services.batches.reading import job_or_item
from queuey.services.jobs.producer import Producer, Words
from queuey.services.jobs.submission import Submission
from queuey.store.batching import Answer

_log = log.get(__name__)
_DEDUPLICATED: Final = {False: b'","deduplicated":false}', True: b'","deduplicated":true}'}
_LENGTH: Final = {
    flag: str(len(b'{"job_id":"') + 28 + len(rest)).encode("ascii") for flag, rest in _DEDUPLICATED.items()
}

_Key = Annotated[str, Meta(min_length=1, max_length=idempotency.MAX_KEY_BYTES, pattern="^[ -~]*$")]
IDEMPOTENCY_KEY: Final = Parameter(
    idempotency.HEADER,
    _Key,
    "The same request with the same key within 24 hours returns the job that the first request made. "
    "Cannot be combined with `dedupe_key`, `id`, `unique`, `debounce` or `throttle`",
)
TRACEPARENT: Final = Parameter(
    traceparent.HEADER,
    str,
    "The span of this request, in the format of W3C Trace Context. The job keeps it, and the spans of its attempts are "
    "linked to it. An invalid one is ignored",
    example="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
REPLAYED: Final = Parameter("Idempotent-Replayed", str, "`true`: an earlier request made the job")
_REPLAYED: Final = ((b"idempotent-replayed", b"true"),)

ENQUEUE: Final = Operation(
    "enqueue_job",
    "Enqueue a job",
    {200: (EnqueueReply, Job)},
    description="A 2xx means that the store has the job. Sending it again with the same `id` or `dedupe_key` is safe. "
    "With a wait the answer is the whole job, when it has finished or the wait is over; the key then needs the scope "
    "read too.",
    query=(WAIT,),
    headers=(PREFER, IDEMPOTENCY_KEY, TRACEPARENT),
    gives=(Parameter("Location", str, "The path of the job"), APPLIED, REPLAYED),
    body=JobRequest,
    example={"type": "text.reverse", "payload": {"text": "hello"}, "dedupe_key": "greeting:1"},
    sample={"job_id": "4C01M85WK1F481TEH724WFD9NG9Z", "deduplicated": False},
    errors=(KeyHeld, UpgradeInProgress, Full, IdempotencyMismatch),
)


Submitted = tuple[str, NewJob]
"""The type of a job, and the job as it is sent to the store."""


class Warned(Exception):
    """The reply to a request has a warning, or may have more than an id, so only the endpoint itself can answer it."""


class SubmitJob:
    """Enqueues one job, or answers with the job that holds its dedupe key.

    A request that waits until the job has finished is answered with the whole job. `admit` and `submit` are for
    connections that know a request's head already (server/http/direct.py).
    """

    method = "POST"
    path = "/v1/jobs"
    needs = "submit"
    doc = ENQUEUE

    def __init__(
        self, gate: Gate, submission: Submission, producer: Producer, awaited: Awaited, body_limit: int
    ) -> None:
        self.gate = gate
        self.body_limit = body_limit
        self._awaited = awaited
        self._submission = submission
        self._producer = producer

    def admit(self, headers: Headers) -> Principal:
        """Return the caller. Raises what the headers of a request are refused with."""
        self.gate.check_origin(headers, self.method)
        caller = self.gate.admit(headers, self.needs)
        media_type(headers, JSON)
        return caller

    async def _admitted(self, headers: Headers, scope: Scope) -> Principal:
        """Return the caller, which may be somebody at the page."""
        if not self.gate.may_be_visitor(headers):
            return self.admit(headers)
        self.gate.check_origin(headers, self.method)
        caller = await self.gate.admit_visitor(headers, self.needs, scope)
        media_type(headers, JSON)
        return caller

    def submit(self, caller: Principal, body: bytes, answer: Answer[Words]) -> Submitted:
        """Submit the job of a request whose headers ask for nothing special, and pass the store's answer to `answer`.

        Raises what the request is refused with, or Warned if its reply has more than an id. Nothing was submitted then.
        """
        submitted = self._submission.plain.job(body)
        if submitted is None:
            request = self._submission.parse(body)
            is_addressed = self._submission.address(request)[1] is not None
            if is_addressed or request.batch is not None or request.bucket_key != request.dedupe_key:
                raise Warned
            submitted = request.type, self._submission.new_job(request, time.time_ns() // 1_000_000)
        job = submitted[1]
        require(caller, self.needs, job.queue)
        self._producer.tell(job, answer)
        return submitted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, body = dict(scope["headers"]), b""
        try:
            caller = await self._admitted(headers, scope)
            body = await read_body(headers, receive, self.body_limit)
            request = self._submission.parse(body)
            if request.traceparent is None:
                request.traceparent = traceparent.from_headers(headers)
            queue, warning = self._submission.address(request)
            require(caller, self.needs, queue)
            wait = None
            if scope["query_string"] or b"prefer" in headers:
                wait = self._awaited.wanted(scope, headers, caller, queue)
            key = headers.get(b"idempotency-key")
            once = None if key is None else idempotency.once(caller.name, key, body)
            job = job_or_item(self._submission, request, time.time_ns() // 1_000_000, once)
            outcome = await self._producer.enqueue(job)
            if once is not None:
                once.check(outcome.job_id)
            self._submission.queues.warn(outcome, request.type, warning)
            whole = None if wait is None else await self._awaited.reply(outcome, wait, caller, receive)
        except ClientDisconnected:
            return
        except Invalid as error:
            await problem_response(self._with_all_faults(error, scope, headers, body), scope)(scope, receive, send)
            return
        except Exception as error:
            await problem_response(error, scope)(scope, receive, send)
            return
        log_enqueued(request.type, queue, outcome)
        is_replayed = once is not None and outcome.deduplicated
        if whole is None:
            await _send_reply(send, outcome, is_replayed)
        else:
            if is_replayed:
                whole.headers[REPLAYED.name] = "true"
            await whole(scope, receive, send)

    def _with_all_faults(self, first: Invalid, scope: Scope, headers: Headers, body: bytes) -> Invalid:
        """Return the error of a request with the other faults of its body, its headers and its query."""
        key, now_ms = headers.get(b"idempotency-key"), time.time_ns() // 1_000_000
        of_body = self._submission.with_all_faults(first, body, now_ms, is_once=key is not None)
        of_head = failures(partial(wanted_wait, scope, headers))
        if key is not None:
            of_head += failures(partial(idempotency.check_key, key))
        return together([of_body, *of_head])


def log_enqueued(job_type: str, queue: str, outcome: EnqueueReply) -> None:
    """Log that a request has enqueued a job, or found the one that holds its dedupe key."""
    if log.debug_enabled():
        _log.debug("job_enqueued", type=job_type, queue=queue, **msgspec.structs.asdict(outcome))


def reply_to(outcome: EnqueueReply) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the headers and the body of the reply to a request that has enqueued a job."""
    job_id = outcome.job_id.encode("ascii")
    if outcome.warnings is UNSET and outcome.replaced is UNSET and outcome.items is UNSET:
        length, body = _LENGTH[outcome.deduplicated], b'{"job_id":"' + job_id + _DEDUPLICATED[outcome.deduplicated]
    else:
        body = msgspec.json.encode(outcome)
        length = b"%d" % len(body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", length),
        (b"location", b"/v1/jobs/" + job_id),
    ]
    return headers, body


async def _send_reply(send: Send, outcome: EnqueueReply, is_replayed: bool) -> None:
    headers, body = reply_to(outcome)
    if is_replayed:
        headers += _REPLAYED
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

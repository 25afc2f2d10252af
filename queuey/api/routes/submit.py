"""POST /v1/jobs, in plain ASGI, since it gets most of the requests (docs/adr/0004-plain-asgi.md)."""

from __future__ import annotations

import time
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.types import Receive, Scope, Send

from queuey import log
from queuey.api.http.auth import Gate, require
from queuey.api.http.body import JSON, ClientDisconnected, media_type, read_body
from queuey.api.http.operations import Operation, Parameter
from queuey.api.http.problems import problem_response
from queuey.api.http.waiting import APPLIED, PREFER, WAIT, Awaited
from queuey.errors import Full, IdempotencyMismatch
from queuey.protocol import idempotency, traceparent
from queuey.protocol.models import EnqueueReply, Job, JobRequest
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission

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
    "Cannot be combined with `dedupe_key` or `id`",
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
    errors=(Full, IdempotencyMismatch),
)


class SubmitJob:
    """Enqueues one job, or answers with the job that holds its dedupe key.

    A request that waits until the job has finished is answered with the whole job.
    """

    method = "POST"
    path = "/v1/jobs"
    needs = "submit"
    doc = ENQUEUE

    def __init__(
        self, gate: Gate, submission: Submission, producer: Producer, awaited: Awaited, body_limit: int
    ) -> None:
        self._gate = gate
        self._awaited = awaited
        self._submission = submission
        self._producer = producer
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = dict(scope["headers"])
            self._gate.check_origin(headers, "POST")
            caller = self._gate.admit(headers, "submit")
            media_type(headers, JSON)
            body = await read_body(headers, receive, self._body_limit)
            request = self._submission.parse(body)
            if request.traceparent is None:
                request.traceparent = traceparent.from_headers(headers)
            require(caller, "submit", request.queue)
            wait = None
            if scope["query_string"] or b"prefer" in headers:
                wait = self._awaited.wanted(scope, headers, caller, request.queue)
            key = headers.get(b"idempotency-key")
            once = None if key is None else idempotency.once(caller.name, key, body)
            job = self._submission.new_job(request, time.time_ns() // 1_000_000, once)
            outcome = await self._producer.enqueue(job)
            if once is not None:
                once.check(outcome.job_id)
            whole = None if wait is None else await self._awaited.reply(outcome, wait, caller, receive)
        except ClientDisconnected:
            return
        except Exception as error:
            await problem_response(error, scope)(scope, receive, send)
            return
        if log.debug_enabled():
            _log.debug("job_enqueued", type=request.type, queue=request.queue, **msgspec.structs.asdict(outcome))
        is_replayed = once is not None and outcome.deduplicated
        if whole is None:
            await _send_reply(send, outcome, is_replayed)
        else:
            if is_replayed:
                whole.headers[REPLAYED.name] = "true"
            await whole(scope, receive, send)


async def _send_reply(send: Send, outcome: EnqueueReply, is_replayed: bool) -> None:
    job_id = outcome.job_id.encode("ascii")
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", _LENGTH[outcome.deduplicated]),
                (b"location", b"/v1/jobs/" + job_id),
                *(_REPLAYED if is_replayed else ()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": b'{"job_id":"' + job_id + _DEDUPLICATED[outcome.deduplicated]})

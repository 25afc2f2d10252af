"""POST /v1/jobs/batch: many jobs in one request, each with its own outcome."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from queuey import log
from queuey.api.http.auth import require
from queuey.api.http.body import JSON, NDJSON, media_type, read_body, read_headers
from queuey.api.http.endpoints import reply
from queuey.api.http.operations import Media, Operation
from queuey.api.http.problems import problem
from queuey.api.openapi.samples import OUTCOMES
from queuey.api.routes.submit import TRACEPARENT
from queuey.errors import Full, Malformed, OutcomeUnknown, QueueyError, StoreError, TooLarge
from queuey.protocol import traceparent
from queuey.protocol.credentials import Principal
from queuey.protocol.idempotency import bad_key
from queuey.protocol.json_checks import check_text, why_not_json
from queuey.protocol.models import BatchItem, BatchReply, EnqueueReply, JobRequest
from queuey.protocol.records import NewJob
from queuey.protocol.schema_faults import invalid
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission

BATCH: Final = Operation(
    "enqueue_jobs",
    "Enqueue many jobs, each with its own outcome",
    {200: BatchReply},
    description="The outcome of a job that does not fit the schema is a problem. The other jobs are enqueued.",
    headers=(TRACEPARENT,),
    body=list[JobRequest],
    body_also=Media(NDJSON, "One job on each line"),
    example=[{"type": "math.square", "payload": {"n": 7}}, {"type": "text.reverse", "payload": {"text": "hello"}}],
    sample=OUTCOMES,
    errors=(Full,),
)
MAX_NESTING: Final = 400
"""The maximum nesting of a batch. Each item is also checked against the limit in the settings."""

_log = log.get(__name__)
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class SubmitBatch:
    """Enqueues an array of jobs, or one job on each line. A batch fails as a whole only if it cannot be split."""

    def __init__(self, submission: Submission, producer: Producer, *, body_limit: int, batch_limit: int) -> None:
        self._submission = submission
        self._producer = producer
        self._body_limit = body_limit
        self._batch_limit = batch_limit

    async def __call__(self, request: Request, caller: Principal) -> Response:
        headers = read_headers(request.scope["headers"])
        if b"idempotency-key" in headers:
            raise bad_key("is for single jobs; give each job of a batch an id or a dedupe_key")
        kind = media_type(headers, JSON, NDJSON)
        body = await read_body(headers, request.receive, self._body_limit)
        check_text(body, MAX_NESTING)
        items: Sequence[bytes | msgspec.Raw] = _lines(body) if kind == NDJSON else _elements(body)
        if len(items) > self._batch_limit:
            raise TooLarge(f"The batch has {len(items)} jobs. Send at most {self._batch_limit}.")
        span = traceparent.from_headers(headers)
        checked = [self._check(bytes(item), caller, span) for item in items]
        stored = iter(await self._producer.enqueue_many([job for job in checked if isinstance(job, NewJob)]))
        outcomes = [next(stored) if isinstance(entry, NewJob) else entry for entry in checked]
        _raise_if_nothing_was_enqueued(outcomes)
        if log.debug_enabled():
            enqueued = sum(isinstance(outcome, EnqueueReply) for outcome in outcomes)
            _log.debug("batch_enqueued", jobs=enqueued, refused=len(outcomes) - enqueued)
        return reply(BatchReply([_item(outcome) for outcome in outcomes]))

    def _check(self, item: bytes, caller: Principal, span: str | None) -> NewJob | QueueyError:
        try:
            request = self._submission.parse(item)
            if request.traceparent is None:
                request.traceparent = span
            require(caller, "submit", request.queue)
            return self._submission.new_job(request, time.time_ns() // 1_000_000)
        except QueueyError as error:
            return error


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if not line.isspace() and line]


def _elements(body: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_items(body)
    except msgspec.ValidationError:
        raise invalid("", "must be an array of jobs; send a single job to /v1/jobs") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not JSON: {why_not_json(error, body)}.") from None


def _raise_if_nothing_was_enqueued(outcomes: list[EnqueueReply | QueueyError]) -> None:
    """Fail the whole request when the store accepted no job, so that the client sends it again."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, QueueyError)]
    if len(errors) < len(outcomes):
        return
    unknown = [job_id for error in errors if isinstance(error, OutcomeUnknown) for job_id in error.job_ids]
    if unknown:
        raise OutcomeUnknown("The store did not answer in time.", unknown)
    for error in errors:
        if isinstance(error, (StoreError, Full)):
            raise error


def _item(outcome: EnqueueReply | QueueyError) -> BatchItem:
    if isinstance(outcome, EnqueueReply):
        return BatchItem(outcome.job_id, outcome.deduplicated)
    return BatchItem(error=problem(outcome))

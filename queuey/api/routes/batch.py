"""POST /v1/jobs/batch: many jobs in one request, each with its own outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
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
from queuey.errors import Full, Invalid, Malformed, OutcomeUnknown, QueueyError, StoreError, TooLarge
from queuey.protocol import traceparent
from queuey.protocol.credentials import Principal
from queuey.protocol.idempotency import bad_key
from queuey.protocol.json.checks import check_text, why_not_json
from queuey.protocol.models import BatchItem, BatchReply, EnqueueReply, JobRequest
from queuey.protocol.records import NewJob
from queuey.protocol.schema_faults import SecondLooks, invalid
from queuey.protocol.stored.items import NewItem
from queuey.services.batches.reading import job_or_item
from queuey.services.jobs.plain_batch import Batch, Check, Items, PlainBatches, read
from queuey.services.jobs.producer import Outcome, Producer
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
"""The maximum nesting of a batch that is split. Each item is then checked against the limit in the settings."""

_FIRST: Final = '{"results":[{"job_id":"'
_BETWEEN: Final = '","deduplicated":false},{"job_id":"'
_LAST: Final = '","deduplicated":false}]}'

TypeWarning = tuple[str, str]
"""The type of a job, and the warning in the reply to it."""

_log = log.get(__name__)
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class SubmitBatch:
    """Enqueues an array of jobs, or one job on each line. A batch fails as a whole only if it cannot be split.

    `in_groups`: make groups of plain jobs (services/jobs/plain_batch.py). Without it the items are read and sent one by
    one, which is the reference for tests.
    """

    def __init__(
        self,
        submission: Submission,
        producer: Producer,
        *,
        body_limit: int,
        batch_limit: int,
        in_groups: bool = True,
    ) -> None:
        self._submission = submission
        self._producer = producer
        self._plain = PlainBatches(submission)
        self._body_limit = body_limit
        self._batch_limit = batch_limit
        self._in_groups = in_groups

    async def __call__(self, request: Request, caller: Principal) -> Response:
        headers = read_headers(request.scope["headers"])
        if b"idempotency-key" in headers:
            raise bad_key("is for single jobs; give each job of a batch an id or a dedupe_key")
        kind = media_type(headers, JSON, NDJSON)
        text = _Text(await read_body(headers, request.receive, self._body_limit), kind, self._submission.limits.depth)
        span = traceparent.from_headers(headers)

        warned: dict[int, TypeWarning] = {}
        looks = SecondLooks()

        def check(place: int) -> NewJob | NewItem | QueueyError:
            return self._check(bytes(text.items[place]), caller, span, partial(warned.__setitem__, place), looks)

        if self._in_groups:
            may = partial(caller.allows, "submit")
            batch = self._plain.group(self._read(text), self._producer.shards, may, span, check)
            stored = await self._producer.enqueue_groups(batch.items)
            if stored and not batch.errors and not batch.added and not any(stored):
                return _all_new(batch.ids)
            outcomes = _in_order(batch, stored, await self._producer.items.add_many(batch.added))
        else:
            outcomes = await self._enqueue_each(text, check)
        _raise_if_nothing_was_enqueued(outcomes)
        _log_outcomes(sum(isinstance(outcome, EnqueueReply) for outcome in outcomes), len(outcomes))
        self._warn(outcomes, warned)
        return reply(BatchReply([_item(outcome) for outcome in outcomes]))

    def _read(self, text: _Text) -> Items:
        items = read(text.body, text.lines, self._batch_limit)
        if items is not None:
            return items
        self._check_count(text.items)
        return self._plain.read_each(text.items)

    async def _enqueue_each(self, text: _Text, check: Check) -> list[Outcome]:
        self._check_count(text.items)
        checked = [check(place) for place in range(len(text.items))]
        stored = iter(await self._producer.enqueue_many([job for job in checked if isinstance(job, NewJob)]))
        items = {place: entry for place, entry in enumerate(checked) if isinstance(entry, NewItem)}
        added = await self._producer.items.add_many(items)
        return [
            next(stored) if isinstance(entry, NewJob) else added[place] if isinstance(entry, NewItem) else entry
            for place, entry in enumerate(checked)
        ]

    def _check_count(self, items: Sequence[object]) -> None:
        if len(items) > self._batch_limit:
            raise TooLarge(f"The batch has {len(items)} jobs. Send at most {self._batch_limit}.")

    def _warn(self, outcomes: Sequence[Outcome], warned: Mapping[int, TypeWarning]) -> None:
        """Add the warnings to the replies to the jobs that were enqueued."""
        for place, (job_type, warning) in warned.items():
            outcome = outcomes[place]
            if isinstance(outcome, EnqueueReply):
                self._submission.queues.warn(outcome, job_type, warning)

    def _check(
        self,
        item: bytes,
        caller: Principal,
        span: str | None,
        warn: Callable[[TypeWarning], None],
        looks: SecondLooks,
    ) -> NewJob | NewItem | QueueyError:
        now_ms = time.time_ns() // 1_000_000
        try:
            request = self._submission.parse(item)
            if request.traceparent is None:
                request.traceparent = span
            queue, warning = self._submission.address(request)
            require(caller, "submit", queue)
            if warning is not None:
                warn((request.type, warning))
            return job_or_item(self._submission, request, now_ms)
        except Invalid as error:
            return self._submission.with_all_faults(error, item, now_ms) if looks.take() else error
        except QueueyError as error:
            return error


class _Text:
    """The text of a batch. It is split when its items are needed one by one."""

    def __init__(self, body: bytes, kind: str, depth: int) -> None:
        self.body = body
        self._depth = depth
        self.lines = _lines(body) if kind == NDJSON else None

    @cached_property
    def items(self) -> Sequence[bytes | msgspec.Raw]:
        """The text of each item. Raises Malformed or Invalid."""
        check_text(self.body, self._depth, around=MAX_NESTING - self._depth)
        return _elements(self.body) if self.lines is None else self.lines


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if not line.isspace() and line]


def _elements(body: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_items(body)
    except msgspec.ValidationError:
        raise invalid("", "must be an array of jobs; send a single job to /v1/jobs", "The body") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not JSON: {why_not_json(error, body)}.") from None


def _all_new(job_ids: Sequence[str]) -> Response:
    """Return the reply for jobs that are all new: the same text as the encoder's."""
    _log_outcomes(len(job_ids), len(job_ids))
    return reply(msgspec.Raw(f"{_FIRST}{_BETWEEN.join(job_ids)}{_LAST}".encode()))


def _in_order(batch: Batch, stored: Sequence[list[Outcome] | None], added: Mapping[int, Outcome]) -> list[Outcome]:
    """Return the outcome of each item of a batch, in its order."""
    outcomes: dict[int, Outcome] = {**batch.errors, **added}
    for places, some in zip(batch.places, stored, strict=True):
        all_new = [EnqueueReply(batch.ids[place], False) for place in places] if some is None else some
        outcomes.update(zip(places, all_new, strict=True))
    return [outcomes[place] for place in range(len(batch.ids))]


def _log_outcomes(enqueued: int, items: int) -> None:
    if log.debug_enabled():
        _log.debug("batch_enqueued", jobs=enqueued, refused=items - enqueued)


def _raise_if_nothing_was_enqueued(outcomes: Sequence[Outcome]) -> None:
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


def _item(outcome: Outcome) -> BatchItem:
    if isinstance(outcome, EnqueueReply):
        replaced, items = outcome.replaced, outcome.items
        return BatchItem(outcome.job_id, outcome.deduplicated, outcome.warnings, replaced, items)
    return BatchItem(error=problem(outcome))

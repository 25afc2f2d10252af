"""Making items of batches from requests."""

from __future__ import annotations

from typing import Final

import msgspec

from queuey.protocol import ids
from queuey.protocol.idempotency import IdempotencyKey
from queuey.protocol.models import NULL, JobRequest
from queuey.protocol.records import DEFAULT_QUEUE, DEFAULT_RETENTION_MS, NewJob, parse_fields
from queuey.protocol.schema_faults import ALLOWED, invalid
from queuey.protocol.stored.items import NewItem, batch_name, open_body
from queuey.services.batches.checks import check_batch, refuse_once
from queuey.services.jobs.submission import Submission
from queuey.services.times import to_ms

REMEMBERED_MS: Final = 600_000
"""An item is remembered for this long at least, behind the time for which its batch may be open. An id that the client
has given is remembered for the retention of the job, if that is longer."""


def job_or_item(
    submission: Submission, request: JobRequest, now_ms: int, once: IdempotencyKey | None = None
) -> NewJob | NewItem:
    """Return what the store takes for a request: a job, or an item of a batch. Raises Invalid."""
    if request.batch is None:
        return submission.new_job(request, now_ms, once)
    if once is not None:
        refuse_once(request)
    return _new_item(submission, request, now_ms)


def _new_item(submission: Submission, request: JobRequest, now_ms: int) -> NewItem:
    batch = request.batch
    assert batch is not None
    check_batch(request, submission.max_delay)
    if request.id is not None and not ids.is_id(request.id):
        raise invalid("/id", f"must be {ALLOWED['/id']}")
    queue = request.queue or DEFAULT_QUEUE
    job = submission.new_job(msgspec.structs.replace(request, id=None, payload=NULL, batch=None), now_ms)
    job.id = ids.new_id(batch.key)
    job.body = open_body(job.body, batch.key)
    wait_ms = to_ms(batch.max_wait)
    retention_ms = int(parse_fields(job.head).get("t", DEFAULT_RETENTION_MS)) if request.id is not None else 0
    return NewItem(
        name=batch_name(queue, request.priority, request.type, batch.key),
        id=request.id or ids.new_id(),
        payload=bytes(request.payload).decode(),
        remember_ms=wait_ms + max(REMEMBERED_MS, retention_ms),
        max_items=batch.max_size,
        wait_ms=wait_ms,
        job=job,
    )

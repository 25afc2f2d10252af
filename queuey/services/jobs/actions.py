"""Looking at one job, cancelling it, having it run again or at once, and deleting it."""

from __future__ import annotations

from queuey.errors import NotFound, StoreUnavailable, WrongState
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.protocol.models import CancelReply, Job, RetryReply
from queuey.protocol.records import to_job
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline, outcome


def unknown_job(job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id[: ids.LENGTH]!r}.")


async def find(broker: Broker, job_id: str, deadline: Deadline) -> Job:
    """The job. Raises NotFound, also for what has not the form of an id, and StoreUnavailable."""
    if not ids.is_id(job_id):
        raise unknown_job(job_id)
    stored = (await deadline.call(broker.jobs.get, broker.shards.of_job(job_id), [job_id]))[0]
    if not stored.definition:
        raise unknown_job(job_id)
    return to_job(job_id, stored)


async def cancel(broker: Broker, job_id: str, deadline: Deadline) -> CancelReply:
    """Cancel a job that waits, or tell the worker of one that runs. A cancelled one is answered so again.

    Raises NotFound, WrongState when it has finished, StoreUnavailable or OutcomeUnknown.
    """
    if not ids.is_id(job_id):
        raise unknown_job(job_id)
    try:
        word = (await deadline.call(broker.jobs.cancel, broker.shards.of_job(job_id), [job_id]))[0]
    except StoreUnavailable as error:
        raise outcome(error, [job_id]) from error
    if word == "cancelled":
        return CancelReply(job_id, "cancelled")
    if word == "cancelling":
        return CancelReply(job_id, "cancelling")
    if word == "finished":
        raise WrongState("The job has finished and cannot be cancelled.")
    raise unknown_job(job_id)


async def retry(broker: Broker, job: Job, deadline: Deadline, metrics: Metrics) -> RetryReply:
    """A new run for a dead job; a scheduled one is due now. Safe to send again within the deadline.

    Raises NotFound, WrongState for any other job and when another one holds the dedupe key by now, Full,
    StoreUnavailable or OutcomeUnknown.
    """
    if job.status not in ("dead_letter", "scheduled"):
        raise _no_retry(job.status)
    move = broker.dlq.replay if job.status == "dead_letter" else broker.jobs.run_now
    shard, request_id = broker.shards.of_job(job.id), ids.short_random()
    try:
        word = (await deadline.call(move, shard, request_id, [job.id]))[0]
    except StoreUnavailable as error:
        raise outcome(error, [job.id]) from error
    if word == "ok":
        if job.status == "dead_letter":
            metrics.replayed.add()
        return RetryReply(job.id)
    if word == "duplicate":
        raise WrongState(
            "The job is still dead_letter: another one holds its dedupe key; cancel that one first, or wait for it."
        )
    raise _no_retry("in another state by now")


def _no_retry(status: str) -> WrongState:
    return WrongState(f"The job is {status}; a job can be retried while it is dead_letter or scheduled.")


async def delete(broker: Broker, job: Job, deadline: Deadline) -> None:
    """A finished job is gone, and its dedupe key is free. Raises WrongState, StoreUnavailable or OutcomeUnknown."""
    shard = broker.shards.of_job(job.id)
    try:
        word = (await deadline.call(broker.jobs.delete, shard, [job.id]))[0]
    except StoreUnavailable as error:
        raise outcome(error, [job.id]) from error
    if word == "unfinished":
        raise WrongState(f"The job is {job.status}; only a finished job can be deleted. Cancel it first.")

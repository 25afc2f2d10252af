"""Operations on one job: find, cancel, retry or delete it."""

from __future__ import annotations

from queuey.errors import NotFound, StoreUnavailable, WrongState
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.protocol.models import CancelReply, Job, JobLog, RetryReply
from queuey.protocol.records import to_job
from queuey.protocol.stored import job_log
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline, outcome


def unknown_job(job_id: str) -> NotFound:
    """Return the error for a job that does not exist, or that the caller may not see."""
    return NotFound(f"There is no job {job_id[: ids.LENGTH]!r}.")


async def find(broker: Broker, job_id: str, deadline: Deadline) -> Job:
    """Return a job. Raises NotFound, also for a text that is not an id, and StoreUnavailable."""
    if not ids.is_id(job_id):
        raise unknown_job(job_id)
    stored = (await deadline.call(broker.jobs.get, broker.shards.of_job(job_id), [job_id]))[0]
    if not stored.definition:
        raise unknown_job(job_id)
    return to_job(job_id, stored)


async def cancel(broker: Broker, job_id: str, deadline: Deadline) -> CancelReply:
    """Cancel a waiting job, or ask the worker of a running one to stop it. Cancelling a cancelled job changes nothing.

    Raises NotFound, WrongState when the job has finished, StoreUnavailable or OutcomeUnknown.
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
    """Replay a dead job, or make a scheduled one due now. It is safe to send it again within the deadline.

    Raises NotFound, Full, StoreUnavailable, OutcomeUnknown, or WrongState: the job has another status, or another job
    holds its dedupe key.
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
            "The job is still dead_letter: another job holds its dedupe key. Cancel that job, or wait until it ends."
        )
    raise _no_retry("in another state now")


def _no_retry(status: str) -> WrongState:
    return WrongState(f"The job is {status}. Only a dead_letter or scheduled job can be retried.")


async def log(broker: Broker, job: Job, deadline: Deadline) -> JobLog:
    """Return the lines that the job's attempts have logged. Raises StoreUnavailable."""
    text = await deadline.call(broker.jobs.get_log, broker.shards.of_job(job.id), job.id)
    return JobLog(job.id, job_log.parse(text))


async def delete(broker: Broker, job: Job, deadline: Deadline) -> None:
    """Delete a finished job, and free its dedupe key. Raises WrongState, StoreUnavailable or OutcomeUnknown."""
    shard = broker.shards.of_job(job.id)
    try:
        word = (await deadline.call(broker.jobs.delete, shard, [job.id]))[0]
    except StoreUnavailable as error:
        raise outcome(error, [job.id]) from error
    if word == "unfinished":
        raise WrongState(f"The job is {job.status}. Only a finished job can be deleted. Cancel it first.")

"""Looking at one job, and cancelling it."""

from __future__ import annotations

from queuey import ids
from queuey.broker import Broker
from queuey.errors import NotFound, StoreUnavailable, WrongState
from queuey.models import CancelReply, Job
from queuey.patience import Patience, outcome
from queuey.records import to_job


def unknown_job(job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id[: ids.LENGTH]!r}.")


async def find(broker: Broker, job_id: str, patience: Patience) -> Job:
    """The job. Raises NotFound, also for what has not the form of an id, and StoreUnavailable."""
    if not ids.is_id(job_id):
        raise unknown_job(job_id)
    stored = (await patience.call(lambda: broker.get(broker.shards.of_job(job_id), [job_id])))[0]
    if not stored.definition:
        raise unknown_job(job_id)
    return to_job(job_id, stored)


async def cancel(broker: Broker, job_id: str, patience: Patience) -> CancelReply:
    """Cancel a job that waits, or tell the worker of one that runs. A cancelled one is answered so again.

    Raises NotFound, WrongState when it has finished, StoreUnavailable or OutcomeUnknown.
    """
    if not ids.is_id(job_id):
        raise unknown_job(job_id)
    try:
        word = (await patience.call(lambda: broker.cancel(broker.shards.of_job(job_id), [job_id])))[0]
    except StoreUnavailable as error:
        raise outcome(error, [job_id]) from error
    if word == "cancelled":
        return CancelReply(job_id, "cancelled")
    if word == "cancelling":
        return CancelReply(job_id, "cancelling")
    if word == "finished":
        raise WrongState("The job has finished and cannot be cancelled.")
    raise unknown_job(job_id)

"""Events of jobs that died by a crash. No worker knows their outcome, so the replica that reaps them reports it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from queuey import log
from queuey.errors import QueueyError
from queuey.protocol.models import Job
from queuey.protocol.records import UNREADABLE, to_job
from queuey.store.broker.broker import Broker
from queuey.worker.handlers.handler import Handler
from queuey.worker.hooks.events import Events, JobEvent

logger = log.get(__name__)


class Crashes:
    """Notifies an App of dead jobs whose types it knows."""

    def __init__(self, broker: Broker, handlers: Mapping[str, Handler], events: Events) -> None:
        self._broker = broker
        self._handlers = handlers
        self._events = events

    async def report(self, shard: int, job_ids: Sequence[str]) -> None:
        """Report jobs that died by a crash. Those that cannot be read are left out."""
        if not job_ids or not self._events.any_of(("on_failure", "on_dead")):
            return
        try:
            stored = await self._broker.jobs.get(shard, job_ids)
        except QueueyError as error:
            logger.warning("crashes_not_reported", jobs=len(job_ids), error=str(error))
            return
        for job_id, one in zip(job_ids, stored, strict=True):
            if not one.definition:  # it was deleted meanwhile
                continue
            try:
                job = to_job(job_id, one)
            except UNREADABLE as error:
                logger.warning("crashes_not_reported", jobs=1, job_id=job_id, error=str(error))
                continue
            if job.type in self._handlers:
                self._events.notify(("on_failure", "on_dead"), _event(job))


def _event(job: Job) -> JobEvent:
    last = job.errors[-1] if job.errors else None
    return JobEvent(
        job.id,
        job.type,
        job.queue,
        job.attempt,
        job.max_attempts,
        kind=last.kind if last else None,
        message=last.message if last else None,
    )

"""GET /v1/jobs/{id} and POST /v1/jobs/{id}/cancel.

A job in a queue that the caller has no grant for is answered as one that does not exist.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from queuey import jobs, log
from queuey.api.body import read_headers
from queuey.api.endpoints import reply
from queuey.api.query import one_of
from queuey.api.waiting import FINAL, wait_for_end, wanted_wait
from queuey.broker import Broker
from queuey.credentials import Principal
from queuey.models import Job
from queuey.patience import Patience
from queuey.waiters import Waiters

_log = log.get(__name__)


class JobRoutes:
    """`patience`: seconds for which the store is asked again."""

    def __init__(self, broker: Broker, waiters: Waiters, patience: float) -> None:
        self._broker = broker
        self._waiters = waiters
        self._patience = patience

    async def show(self, request: Request, caller: Principal) -> Response:
        """At once, or when the job has ended."""
        wait = wanted_wait(one_of(request, "wait"), read_headers(request.scope["headers"]))
        job_id = request.path_params["id"]
        job = await self._find(job_id, caller, "read", Patience(self._patience))
        if wait is None:
            return reply(job)
        if wait.seconds and job.status not in FINAL:
            await wait_for_end(self._waiters, job_id, wait.seconds, request.receive)
            job = await self._find(job_id, caller, "read", Patience(self._patience))
        return reply(job, headers=wait.headers)

    async def cancel(self, request: Request, caller: Principal) -> Response:
        patience = Patience(self._patience)
        job_id = request.path_params["id"]
        if not caller.allows("submit"):
            await self._find(job_id, caller, "submit", patience)
        answer = await jobs.cancel(self._broker, job_id, patience)
        _log.info("job_cancel_requested", job_id=job_id, status=answer.status, by=caller.name)
        return reply(answer)

    async def _find(self, job_id: str, caller: Principal, scope: str, patience: Patience) -> Job:
        job = await jobs.find(self._broker, job_id, patience)
        if not caller.allows(scope, job.queue):
            raise jobs.unknown_job(job_id)
        return job

"""GET /v1/jobs/{id} and POST /v1/jobs/{id}/cancel.

A job in a queue that the caller has no grant for is answered as one that does not exist.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from queuey import jobs, log
from queuey.api.endpoints import reply
from queuey.broker import Broker
from queuey.credentials import Principal
from queuey.models import Job
from queuey.patience import Patience

_log = log.get(__name__)


class JobRoutes:
    """`patience`: seconds for which the store is asked again."""

    def __init__(self, broker: Broker, patience: float) -> None:
        self._broker = broker
        self._patience = patience

    async def show(self, request: Request, caller: Principal) -> Response:
        patience = Patience(self._patience)
        return reply(await self._find(request.path_params["id"], caller, "read", patience))

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

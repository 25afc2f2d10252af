"""The routes of jobs that are there already: list, show, cancel, retry, delete.

A job in a queue that the caller has no grant for is answered as one that does not exist.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from queuey import log
from queuey.api.http.body import read_headers
from queuey.api.http.endpoints import reply
from queuey.api.http.etags import reply_unless_known
from queuey.api.http.query import Parameters, one_of
from queuey.api.http.waiting import FINAL, wait_for_end, wanted_wait
from queuey.metrics import Metrics
from queuey.protocol.credentials import Principal
from queuey.protocol.models import STATUSES, Job
from queuey.services.jobs import actions as jobs
from queuey.services.jobs.explain import explain
from queuey.services.jobs.listing import MAX_PAGE, Wanted, list_jobs
from queuey.services.jobs.producer import Producer, no_room
from queuey.services.jobs.waiters import Waiters
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

DEFAULT_PAGE: Final = 50

_log = log.get(__name__)


class JobRoutes:
    """`request_deadline`: seconds for which the store is asked again."""

    def __init__(
        self, broker: Broker, producer: Producer, waiters: Waiters, *, metrics: Metrics, request_deadline: float
    ) -> None:
        self._metrics = metrics
        self._broker = broker
        self._producer = producer
        self._waiters = waiters
        self._request_deadline = request_deadline

    async def show(self, request: Request, caller: Principal) -> Response:
        """At once, or when the job has ended."""
        wait = wanted_wait(one_of(request, "wait"), read_headers(request.scope["headers"]))
        job_id = request.path_params["id"]
        job = await self._find(job_id, caller, "read", Deadline(self._request_deadline))
        if wait is None:
            return reply_unless_known(request, job)
        if wait.seconds and job.status not in FINAL:
            await wait_for_end(self._waiters, job_id, wait.seconds, request.receive)
            job = await self._find(job_id, caller, "read", Deadline(self._request_deadline))
        return reply_unless_known(request, job, wait.headers)

    async def list(self, request: Request, caller: Principal) -> Response:
        """Those of the queues that the caller may read."""
        parameters = Parameters(request, "queue", "status", "type", "limit", "cursor")
        wanted = Wanted(parameters.name("queue"), parameters.one_of("status", STATUSES), parameters.name("type"))
        limit = parameters.whole_number("limit", least=1, most=MAX_PAGE, default=DEFAULT_PAGE)

        def visible(queue: str) -> bool:
            return caller.allows("read", queue)

        cursor, deadline = parameters.text("cursor"), Deadline(self._request_deadline)
        page = await list_jobs(self._broker, wanted, visible, limit, cursor, deadline)
        if page.next is None:
            return reply(page)
        query = {**msgspec.structs.asdict(wanted), "limit": limit, "cursor": page.next}
        link = urlencode({name: value for name, value in query.items() if value is not None})
        return reply(page, headers={"Link": f'<{request.url.path}?{link}>; rel="next"'})

    async def cancel(self, request: Request, caller: Principal) -> Response:
        deadline = Deadline(self._request_deadline)
        job_id = request.path_params["id"]
        if not caller.allows("submit"):
            await self._find(job_id, caller, "submit", deadline)
        answer = await jobs.cancel(self._broker, job_id, deadline)
        _log.info("job_cancel_requested", job_id=job_id, status=answer.status, by=caller.name)
        return reply(answer)

    async def retry(self, request: Request, caller: Principal) -> Response:
        deadline = Deadline(self._request_deadline)
        job = await self._find(request.path_params["id"], caller, "submit", deadline)
        if job.status == "dead_letter" and self._producer.full:
            raise no_room()
        answer = await jobs.retry(self._broker, job, deadline, self._metrics)
        _log.info("job_retried", job_id=job.id, was=job.status, by=caller.name)
        return reply(answer)

    async def explain(self, request: Request, caller: Principal) -> Response:
        deadline = Deadline(self._request_deadline)
        job = await self._find(request.path_params["id"], caller, "read", deadline)
        return reply(await explain(self._broker, job, deadline))

    async def delete(self, request: Request, caller: Principal) -> Response:
        deadline = Deadline(self._request_deadline)
        job = await self._find(request.path_params["id"], caller, "admin", deadline)
        await jobs.delete(self._broker, job, deadline)
        _log.info("job_deleted", job_id=job.id, was=job.status, by=caller.name)
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    async def _find(self, job_id: str, caller: Principal, scope: str, deadline: Deadline) -> Job:
        job = await jobs.find(self._broker, job_id, deadline)
        if not caller.allows(scope, job.queue):
            raise jobs.unknown_job(job_id)
        return job

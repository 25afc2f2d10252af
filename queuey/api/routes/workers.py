"""GET /v1/workers and POST /v1/workers/{name}/quiet.

A worker is shown to who may read one of its queues; the jobs that it holds, to who may read all of them.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from queuey import log
from queuey.api.http.endpoints import reply
from queuey.api.http.operations import Operation
from queuey.api.openapi.samples import WORKER
from queuey.errors import Forbidden, Full
from queuey.protocol.credentials import Principal
from queuey.protocol.models import WorkerInfo, WorkerList
from queuey.services import workers as roster
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

_log = log.get(__name__)

LIST: Final = Operation(
    "list_workers",
    "Who runs jobs: replicas of the server, and programs that pull",
    {200: WorkerList},
    description="Those that take jobs from a queue that the key may read, as of their last sign of life.",
    sample={"workers": [WORKER]},
    group="Workers",
)
QUIET: Final = Operation(
    "quiet_worker",
    "Have a worker claim no more jobs and finish what it has",
    {200: WorkerInfo},
    description=(
        "It is told within 5 seconds. A replica stays quiet until it is started anew, a program that pulls until it "
        "has not asked for a minute."
    ),
    sample={**WORKER, "quiet": True},
    errors=(Full,),
    group="Workers",
)


class WorkerRoutes:
    """`request_deadline`: seconds for which the store is asked again."""

    def __init__(self, broker: Broker, request_deadline: float) -> None:
        self._broker = broker
        self._request_deadline = request_deadline

    async def list(self, request: Request, caller: Principal) -> Response:
        known = await roster.list_workers(self._broker, Deadline(self._request_deadline))
        parts = (roster.visible_part(worker, lambda queue: caller.allows("read", queue)) for worker in known)
        return reply(WorkerList([worker for worker in parts if worker is not None]))

    async def quiet(self, request: Request, caller: Principal) -> Response:
        """Only who is admin over all of its queues may stop it. Of several with one name, those that the caller may."""
        name: str = request.path_params["name"]
        deadline = Deadline(self._request_deadline)
        known = await roster.list_workers(self._broker, deadline)
        named = (worker for worker in known if worker.name == name)
        seen = [worker for worker in named if any(caller.allows("read", queue) for queue in worker.queues)]
        if not seen:
            raise roster.unknown_worker(name)
        own = [worker for worker in seen if all(caller.allows("admin", queue) for queue in worker.queues)]
        if not own:
            raise Forbidden("The API key lacks the scope admin over some of the worker's queues.")
        quieted = [await roster.make_quiet(self._broker, worker, deadline) for worker in own]
        _log.info("worker_quiet_requested", worker=name, keys=[worker.key for worker in own], by=caller.name)
        return reply(max(quieted, key=lambda worker: worker.last_seen))

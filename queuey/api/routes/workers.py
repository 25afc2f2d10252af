"""GET /v1/workers and POST /v1/workers/{name}/quiet.

A caller sees a worker if it may read one of its queues, and the jobs of the worker if it may read all of them.
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
from queuey.services import workers
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

_log = log.get(__name__)

LIST: Final = Operation(
    "list_workers",
    "List workers: replicas of the server, and pull workers",
    {200: WorkerList},
    description="Covers the workers of the queues that the key may read, as of their last heartbeat.",
    sample={"workers": [WORKER]},
    group="Workers",
)
QUIET: Final = Operation(
    "quiet_worker",
    "Make a worker quiet: it finishes its jobs and claims no more",
    {200: WorkerInfo},
    description=(
        "The worker is notified within 5 seconds. A replica stays quiet until it is restarted, a pull worker until it "
        "has not asked for jobs for a minute."
    ),
    sample={**WORKER, "quiet": True},
    errors=(Full,),
    group="Workers",
)


class WorkerRoutes:
    """Answers the routes of workers. `request_deadline`: the seconds for each call to the store."""

    def __init__(self, broker: Broker, request_deadline: float) -> None:
        self._broker = broker
        self._request_deadline = request_deadline

    async def list(self, request: Request, caller: Principal) -> Response:
        """Answer with the workers that the caller may see."""
        known = await workers.list_workers(self._broker, Deadline(self._request_deadline))
        parts = (workers.visible_part(worker, lambda queue: caller.allows("read", queue)) for worker in known)
        return reply(WorkerList([worker for worker in parts if worker is not None]))

    async def quiet(self, request: Request, caller: Principal) -> Response:
        """Make the workers of this name quiet, if the caller has the scope admin over all queues of the worker."""
        name: str = request.path_params["name"]
        deadline = Deadline(self._request_deadline)
        known = await workers.list_workers(self._broker, deadline)
        named = (worker for worker in known if worker.name == name)
        seen = [worker for worker in named if any(caller.allows("read", queue) for queue in worker.queues)]
        if not seen:
            raise workers.unknown_worker(name)
        own = [worker for worker in seen if all(caller.allows("admin", queue) for queue in worker.queues)]
        if not own:
            raise Forbidden("The API key lacks the scope admin over some of the worker's queues.")
        quieted = [await workers.make_quiet(self._broker, worker, deadline) for worker in own]
        _log.info("worker_quiet_requested", worker=name, keys=[worker.key for worker in own], by=caller.name)
        return reply(max(quieted, key=lambda worker: worker.last_seen))

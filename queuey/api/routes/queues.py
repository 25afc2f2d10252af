"""The routes of queues: list, show, count, pause, resume and purge them; and `POST /v1/replay-dlq`.

A queue that the caller has no grant for is answered as one that does not exist.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from queuey import log
from queuey import metrics as counts
from queuey.api.http.auth import require
from queuey.api.http.endpoints import reply
from queuey.api.http.json_body import JsonBody
from queuey.api.http.operations import Operation, Parameter
from queuey.api.http.query import whole_number
from queuey.api.openapi.samples import LENGTHS, PAUSED_QUEUE, QUEUE
from queuey.errors import Full
from queuey.protocol.credentials import Principal
from queuey.protocol.models import (
    NAME_PATTERN,
    Metrics,
    PauseRequest,
    PurgeReply,
    PurgeRequest,
    Queue,
    QueueList,
    ReplayReply,
)
from queuey.protocol.schema_faults import invalid
from queuey.services import queues as control
from queuey.services.dlq.actions import MAX_LOOKED_AT, replay_oldest
from queuey.services.jobs.producer import Producer, no_room
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

_NAME: Final = re.compile(NAME_PATTERN)
_REASON: Final = "1 to 256 characters of printable text"
_PAUSE_BODY: Final = JsonBody(PauseRequest, {"/reason": _REASON})
_PURGE_BODY: Final = JsonBody(PurgeRequest, {"/status": "an array of queued, scheduled or both"})
_log = log.get(__name__)

LIST: Final = Operation(
    "list_queues",
    "Every queue: how many jobs are where, whether it is paused, who takes jobs from it",
    {200: QueueList},
    description="Of the queues that the key may read.",
    sample={"queues": [QUEUE]},
    group="Queues",
)
SHOW: Final = Operation("get_queue", "One queue", {200: Queue}, sample=QUEUE, group="Queues")
PAUSE: Final = Operation(
    "pause_queue",
    "Give out no more of its jobs",
    {200: Queue},
    description="What runs goes on, and new jobs are taken. A queue can be paused before its first job comes.",
    body=PauseRequest,
    example={"reason": "the mail relay is down"},
    sample=PAUSED_QUEUE,
    group="Queues",
)
RESUME: Final = Operation("resume_queue", "Give out its jobs again", {200: Queue}, sample=QUEUE, group="Queues")
PURGE: Final = Operation(
    "purge_queue",
    "Cancel the jobs that wait in it",
    {200: PurgeReply},
    description=(
        f"At most {control.MAX_PURGED} jobs, and for {control.PURGE_SECONDS:g} seconds; `more` says whether some may "
        "be left. What runs is not touched."
    ),
    body=PurgeRequest,
    example={"status": ["queued", "scheduled"]},
    sample={"cancelled": 17, "more": False},
    group="Queues",
)
METRICS: Final = Operation(
    "queue_metrics",
    "How many jobs wait, run, are done or dead",
    {200: Metrics},
    description="Of the queues that the key may read.",
    sample=LENGTHS,
    group="Queues",
)
REPLAY: Final = Operation(
    "replay_dead_jobs",
    "Run dead jobs anew, oldest first",
    {200: ReplayReply},
    description="The scope must be over all queues.",
    query=(
        Parameter("limit", Annotated[int, Meta(ge=1, le=MAX_LOOKED_AT)], "How many dead jobs at most", 100, example=10),
    ),
    sample={"requeued": 1},
    errors=(Full,),
    group="Dead-letter queue",
)


class QueueAdminRoutes:
    """`request_deadline`: seconds for which the store is asked again. `body_limit` is in bytes."""

    def __init__(self, broker: Broker, request_deadline: float, body_limit: int) -> None:
        self._broker = broker
        self._request_deadline = request_deadline
        self._body_limit = body_limit

    async def list(self, request: Request, caller: Principal) -> Response:
        def visible(queue: str) -> bool:
            return caller.allows("read", queue)

        return reply(QueueList(await control.show_queues(self._broker, visible, Deadline(self._request_deadline))))

    async def show(self, request: Request, caller: Principal) -> Response:
        name = _named(request, caller, "read")
        return reply(await control.show_queue(self._broker, name, Deadline(self._request_deadline)))

    async def pause(self, request: Request, caller: Principal) -> Response:
        name = _named(request, caller, "admin")
        reason = (await _PAUSE_BODY.read(request, self._body_limit)).reason
        if not reason.isprintable():
            raise invalid("/reason", f"must be {_REASON}")
        deadline = Deadline(self._request_deadline)
        await control.pause(self._broker, name, reason, caller.name, deadline)
        _log.info("queue_paused", queue=name, reason=reason, by=caller.name)
        return reply(await control.show_queue(self._broker, name, deadline))

    async def resume(self, request: Request, caller: Principal) -> Response:
        name = _named(request, caller, "admin")
        deadline = Deadline(self._request_deadline)
        await control.show_queue(self._broker, name, deadline)
        await control.resume(self._broker, name, deadline)
        _log.info("queue_resumed", queue=name, by=caller.name)
        return reply(await control.show_queue(self._broker, name, deadline))

    async def purge(self, request: Request, caller: Principal) -> Response:
        name = _named(request, caller, "admin")
        status = (await _PURGE_BODY.read(request, self._body_limit)).status
        await control.show_queue(self._broker, name, Deadline(self._request_deadline))
        purged = await control.purge(self._broker, name, status, self._request_deadline)
        _log.info("queue_purged", queue=name, cancelled=purged.cancelled, more=purged.more, by=caller.name)
        return reply(purged)


class QueueRoutes:
    """`request_deadline`: seconds for which the store is asked again."""

    def __init__(self, broker: Broker, producer: Producer, request_deadline: float, *, metrics: counts.Metrics) -> None:
        self._metrics = metrics
        self._broker = broker
        self._producer = producer
        self._request_deadline = request_deadline

    async def metrics(self, request: Request, caller: Principal) -> Response:
        """Of the queues that the caller may read."""

        def visible(queue: str) -> bool:
            return caller.allows("read", queue)

        return reply(await control.queue_lengths(self._broker, visible, Deadline(self._request_deadline)))

    async def replay(self, request: Request, caller: Principal) -> Response:
        require(caller, "admin", None)
        limit = whole_number(request, "limit", least=1, most=MAX_LOOKED_AT, default=100)
        if self._producer.full:
            raise no_room()
        requeued = await replay_oldest(self._broker, limit, Deadline(self._request_deadline), self._metrics)
        _log.info("dead_letters_replayed", requeued=requeued, limit=limit, by=caller.name)
        return reply(ReplayReply(requeued))


def _named(request: Request, caller: Principal, scope: str) -> str:
    """The queue of the path. Raises NotFound."""
    name: str = request.path_params["name"]
    if not _NAME.match(name) or not caller.allows(scope, name):
        raise control.unknown_queue(name)
    return name

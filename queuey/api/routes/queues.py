"""The routes of queues: list, show, count, pause, resume and purge them; and `POST /v1/replay-dlq`.

To a caller without a grant for it, a queue does not exist.
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
from queuey.api.http.query import parameters_of
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
from queuey.protocol.schema_faults import Check, invalid
from queuey.services import queues as control
from queuey.services.dlq.actions import MAX_LOOKED_AT, replay_oldest
from queuey.services.jobs.producer import Producer, no_room
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

_NAME: Final = re.compile(NAME_PATTERN)
_REASON: Final = "1 to 256 characters of printable text"


def _check_reason(pause: PauseRequest) -> None:
    if not pause.reason.isprintable():
        raise invalid("/reason", f"must be {_REASON}")


PAUSE_BODY: Final = JsonBody(PauseRequest, {"/reason": _REASON}, Check(_check_reason, ("reason",)), needed=False)
_PURGE_BODY: Final = JsonBody(PurgeRequest, {"/status": "an array of queued, scheduled or both"})
_log = log.get(__name__)

LIST: Final = Operation(
    "list_queues",
    "List queues, with their counts, pauses and workers",
    {200: QueueList},
    description="Covers the queues that the key may read.",
    sample={"queues": [QUEUE]},
    group="Queues",
)
SHOW: Final = Operation("get_queue", "Get a queue", {200: Queue}, sample=QUEUE, group="Queues")
PAUSE: Final = Operation(
    "pause_queue",
    "Pause a queue",
    {200: Queue},
    description="Running jobs continue, and new jobs are accepted. A queue can be paused before its first job comes.",
    body=PauseRequest,
    body_needed=False,
    example={"reason": "the mail relay is down"},
    sample=PAUSED_QUEUE,
    group="Queues",
)
RESUME: Final = Operation("resume_queue", "Resume a queue", {200: Queue}, sample=QUEUE, group="Queues")
PURGE: Final = Operation(
    "purge_queue",
    "Cancel the waiting jobs of a queue",
    {200: PurgeReply},
    description=(
        f"Cancels at most {control.MAX_PURGED} jobs, for at most {control.PURGE_SECONDS:g} seconds. `more`: some may "
        "be left. Running jobs are not touched."
    ),
    body=PurgeRequest,
    example={"status": ["queued", "scheduled"]},
    sample={"cancelled": 17, "more": False},
    group="Queues",
)
METRICS: Final = Operation(
    "queue_metrics",
    "Count the jobs of each queue",
    {200: Metrics},
    description="Covers the queues that the key may read.",
    sample=LENGTHS,
    group="Queues",
)
REPLAY: Final = Operation(
    "replay_dead_jobs",
    "Replay dead jobs, oldest first",
    {200: ReplayReply},
    description="The scope admin must be over all queues.",
    query=(
        Parameter(
            "limit", Annotated[int, Meta(ge=1, le=MAX_LOOKED_AT)], "Maximum number of dead jobs", 100, example=10
        ),
    ),
    sample={"requeued": 1},
    errors=(Full,),
    group="Dead-letter queue",
)


class QueueAdminRoutes:
    """Answers the routes under /v1/queues.

    `request_deadline` and `unknown_type_ttl` are in seconds, `body_limit` in bytes.
    """

    def __init__(self, broker: Broker, request_deadline: float, body_limit: int, *, unknown_type_ttl: float) -> None:
        self._broker = broker
        self._request_deadline = request_deadline
        self._body_limit = body_limit
        self._unknown_type_ttl = unknown_type_ttl

    async def list(self, request: Request, caller: Principal) -> Response:
        """Answer with the queues that the caller may read."""

        def visible(queue: str) -> bool:
            return caller.allows("read", queue)

        deadline = Deadline(self._request_deadline)
        return reply(await control.show_queues(self._broker, visible, deadline, self._unknown_type_ttl))

    async def show(self, request: Request, caller: Principal) -> Response:
        """Answer with one queue."""
        name = _named(request, caller, "read")
        return reply(await self._shown(name, Deadline(self._request_deadline)))

    async def pause(self, request: Request, caller: Principal) -> Response:
        """Pause a queue, and answer with it."""
        name = _named(request, caller, "admin")
        reason = (await PAUSE_BODY.read(request, self._body_limit)).reason
        deadline = Deadline(self._request_deadline)
        await control.pause(self._broker, name, reason, caller.name, deadline)
        _log.info("queue_paused", queue=name, reason=reason, by=caller.name)
        return reply(await self._shown(name, deadline))

    async def resume(self, request: Request, caller: Principal) -> Response:
        """Resume a queue, and answer with it."""
        name = _named(request, caller, "admin")
        deadline = Deadline(self._request_deadline)
        await control.check_known(self._broker, name, deadline)
        await control.resume(self._broker, name, deadline)
        _log.info("queue_resumed", queue=name, by=caller.name)
        return reply(await self._shown(name, deadline))

    async def purge(self, request: Request, caller: Principal) -> Response:
        """Cancel the waiting jobs of a queue."""
        name = _named(request, caller, "admin")
        status = (await _PURGE_BODY.read(request, self._body_limit)).status
        await control.check_known(self._broker, name, Deadline(self._request_deadline))
        purged = await control.purge(self._broker, name, status, self._request_deadline)
        _log.info("queue_purged", queue=name, cancelled=purged.cancelled, more=purged.more, by=caller.name)
        return reply(purged)

    async def _shown(self, name: str, deadline: Deadline) -> Queue:
        return await control.show_queue(self._broker, name, deadline, self._unknown_type_ttl)


class QueueRoutes:
    """Answers the counts and `POST /v1/replay-dlq`. `request_deadline`: the seconds for each call to the store."""

    def __init__(self, broker: Broker, producer: Producer, *, metrics: counts.Metrics, request_deadline: float) -> None:
        self._metrics = metrics
        self._broker = broker
        self._producer = producer
        self._request_deadline = request_deadline

    async def metrics(self, request: Request, caller: Principal) -> Response:
        """Answer with the counts of the queues that the caller may read."""

        def visible(queue: str) -> bool:
            return caller.allows("read", queue)

        return reply(await control.queue_lengths(self._broker, visible, Deadline(self._request_deadline)))

    async def replay(self, request: Request, caller: Principal) -> Response:
        """Replay the oldest dead jobs."""
        require(caller, "admin", None)
        with parameters_of(request, "limit") as given:
            limit = given.whole_number("limit", least=1, most=MAX_LOOKED_AT, default=100)
        if self._producer.full:
            raise no_room()
        requeued = await replay_oldest(self._broker, limit, Deadline(self._request_deadline), self._metrics)
        _log.info("dead_letters_replayed", requeued=requeued, limit=limit, by=caller.name)
        return reply(ReplayReply(requeued))


def _named(request: Request, caller: Principal, scope: str) -> str:
    """Return the name of the queue in the path. Raises NotFound."""
    name: str = request.path_params["name"]
    if not _NAME.match(name) or not caller.allows(scope, name):
        raise control.unknown_queue(name)
    return name

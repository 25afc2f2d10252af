"""GET /v1/queues/metrics and POST /v1/replay-dlq."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from queuey import log
from queuey import metrics as counts
from queuey.api.http.auth import require
from queuey.api.http.endpoints import reply
from queuey.api.http.operations import Operation, Parameter
from queuey.api.http.query import whole_number
from queuey.api.openapi.samples import LENGTHS
from queuey.errors import Full
from queuey.protocol.credentials import Principal
from queuey.protocol.models import Metrics, ReplayReply
from queuey.services.dlq.replay import MAX_LOOKED_AT, replay_oldest
from queuey.services.jobs.producer import Producer, no_room
from queuey.services.queue_lengths import queue_lengths
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

_log = log.get(__name__)

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


class QueueRoutes:
    """`request_deadline`: seconds for which the store is asked again."""

    def __init__(self, broker: Broker, producer: Producer, *, metrics: counts.Metrics, request_deadline: float) -> None:
        self._metrics = metrics
        self._broker = broker
        self._producer = producer
        self._request_deadline = request_deadline

    async def metrics(self, request: Request, caller: Principal) -> Response:
        """Of the queues that the caller may read."""

        def visible(queue: str) -> bool:
            return caller.allows("read", queue)

        return reply(await queue_lengths(self._broker, visible, Deadline(self._request_deadline)))

    async def replay(self, request: Request, caller: Principal) -> Response:
        require(caller, "admin", None)
        limit = whole_number(request, "limit", least=1, most=MAX_LOOKED_AT, default=100)
        if self._producer.full:
            raise no_room()
        requeued = await replay_oldest(self._broker, limit, Deadline(self._request_deadline), self._metrics)
        _log.info("dead_letters_replayed", requeued=requeued, limit=limit, by=caller.name)
        return reply(ReplayReply(requeued))

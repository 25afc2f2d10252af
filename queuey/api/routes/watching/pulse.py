"""GET /v1/pulse: the queues and workers once a second, as Server-Sent Events, or once as JSON."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from queuey.api.http.endpoints import reply
from queuey.api.http.operations import Media, Operation, Parameter
from queuey.api.http.query import parameters_of
from queuey.api.openapi.samples import QUEUE, WORKER
from queuey.api.routes.events import HEADERS, MAX_SECONDS, MEDIA_TYPE, PING, PING_SECONDS, Streamed
from queuey.errors import Full
from queuey.protocol.credentials import Principal
from queuey.protocol.models import Pulse, ServerSentEvent
from queuey.services.pulse import Follower, Pulses

PULSE: Final = Operation(
    "follow_pulse",
    "Follow the queues and workers, once a second",
    {200: Media(MEDIA_TYPE, "Events `pulse`; `gone` while the store does not answer", ServerSentEvent, Pulse)},
    description=(
        "Covers the queues that the key may read. Each event is whole, so any server can go on with it. With more than "
        "64 queues it comes every 2 seconds. `once=1` answers with one frame as JSON."
    ),
    query=(
        Parameter("once", Literal["1"], "Answer with one frame as JSON", example="1"),
        Parameter(
            "seconds", Annotated[int, Meta(ge=0, le=MAX_SECONDS)], "End the stream after this many seconds", example=10
        ),
    ),
    sample={
        "at": "2026-12-01T12:00:00Z",
        "queues": [QUEUE],
        "workers": [WORKER],
        "totals": {"waiting": 17, "running": 3, "scheduled": 0, "dead": 0, "slots": 100, "busy": 3},
        "store_used": 0.02,
        "every": 1.0,
    },
    errors=(Full,),
    group="Queues",
)


class PulseRoutes:
    """Answers GET /v1/pulse."""

    def __init__(self, pulses: Pulses) -> None:
        self._pulses = pulses

    async def follow(self, request: Request, caller: Principal) -> Response:
        """Stream the frames, or answer with one."""
        with parameters_of(request, "once", "seconds") as given:
            once = given.one_of("once", ("1",))
            has_end = given.raw("seconds") is not None
            seconds = given.whole_number("seconds", least=0, most=MAX_SECONDS, default=0) if has_end else math.inf
        if once:
            return reply(await self._pulses.once(caller))
        if request.method == "HEAD":
            return Response(headers=HEADERS, media_type=MEDIA_TYPE)
        follower = self._pulses.follow(caller)
        return Streamed(_events(follower, seconds), lambda: self._pulses.leave(follower))


async def _events(follower: Follower, seconds: float) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    yield PING
    while loop.time() < ends and not follower.over:
        yield await follower.next(min(PING_SECONDS, ends - loop.time())) or PING

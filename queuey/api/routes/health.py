"""GET /healthz and GET /readyz: for load balancers and supervisors, without a key."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from queuey.api.http.endpoints import reply
from queuey.api.http.operations import Operation
from queuey.protocol.credentials import Principal
from queuey.services.health import Durability, Health


class Alive(Struct):
    """The answer of `GET /healthz`."""

    status: Literal["ok"]
    redis: Literal["up", "down"]


class Ready(Struct):
    """The answer of `GET /readyz`. `durability`: what the store keeps of the promise that no job is lost."""

    status: Literal["ready", "draining", "store down"]
    redis: Literal["up", "down"]
    durability: Durability


HEALTHZ: Final = Operation(
    "alive", "Whether the process lives", {200: Alive}, sample={"status": "ok", "redis": "up"}, group="Operation"
)
READYZ: Final = Operation(
    "ready",
    "Whether to send requests here",
    {200: Ready, 503: Ready},
    sample={"status": "ready", "redis": "up", "durability": "verified"},
    group="Operation",
)


class OpsRoutes:
    def __init__(self, health: Health) -> None:
        self._health = health

    async def healthz(self, request: Request, caller: Principal) -> Response:
        """Always 200: the process lives. A store that is down is told, and no reason to restart this process."""
        up = await self._health.store_up()
        return reply(Alive("ok", "up" if up else "down"))

    async def readyz(self, request: Request, caller: Principal) -> Response:
        """200 or 503: whether to send requests here."""
        ready, body = await self._health.ready()
        return reply(body, 200) if ready else reply(body, 503, {"Retry-After": "1"})

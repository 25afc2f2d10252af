"""GET /healthz and GET /readyz: the liveness and readiness probes, which need no key."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType
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
    """The answer of `GET /readyz`. `durability`: what is known about the store's syncing.

    `note`: what a person should look at, although requests may come here. `silent_shards`: the numbers of the shards
    that do not answer, while others do.
    """

    status: Literal["ready", "draining", "store down"]
    redis: Literal["up", "down"]
    durability: Durability
    note: str | UnsetType = UNSET
    silent_shards: list[int] | UnsetType = UNSET


HEALTHZ: Final = Operation(
    "alive", "Liveness probe", {200: Alive}, sample={"status": "ok", "redis": "up"}, group="Operation"
)
READYZ: Final = Operation(
    "ready",
    "Readiness probe",
    {200: Ready, 503: Ready},
    sample={"status": "ready", "redis": "up", "durability": "verified"},
    group="Operation",
)


class OpsRoutes:
    """Answers the probes."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def healthz(self, request: Request, caller: Principal) -> Response:
        """Answer 200 while the process lives. The answer reports if the store is down, which needs no restart."""
        up = await self._health.store_up()
        return reply(Alive("ok", "up" if up else "down"))

    async def readyz(self, request: Request, caller: Principal) -> Response:
        """Answer 200 if this replica is ready for requests, or else 503."""
        ready, body = await self._health.ready()
        return reply(body, 200) if ready else reply(body, 503, {"Retry-After": "1"})

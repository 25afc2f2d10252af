"""GET /healthz and GET /readyz: for load balancers and supervisors, without a key."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from queuey.api.endpoints import reply
from queuey.credentials import Principal
from queuey.health import Health


class OpsRoutes:
    def __init__(self, health: Health) -> None:
        self._health = health

    async def healthz(self, request: Request, caller: Principal) -> Response:
        """Always 200: the process lives. A store that is down is told, and no reason to restart this process."""
        up = await self._health.store_up()
        return reply({"status": "ok", "redis": "up" if up else "down"})

    async def readyz(self, request: Request, caller: Principal) -> Response:
        """200 or 503: whether to send requests here."""
        ready, body = await self._health.ready()
        return reply(body, 200) if ready else reply(body, 503, {"Retry-After": "1"})

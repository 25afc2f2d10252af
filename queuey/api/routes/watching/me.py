"""GET /v1/me: who the caller is, and what this server is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from queuey.api.http.auth import Gate
from queuey.api.http.body import read_headers
from queuey.api.http.endpoints import reply
from queuey.api.http.operations import Operation, refuse_parameters
from queuey.protocol.credentials import Principal
from queuey.protocol.models import Bounds, Me, UiMode
from queuey.store.broker.calls import FEATURES
from queuey.version import __version__

SHOW: Final = Operation(
    "show_me",
    "Show who the caller is, and the limits of this server",
    {200: Me},
    description="It needs no key. A key that is not known is refused.",
    sample={
        "name": "ops",
        "open": False,
        "via": "key",
        "grants": ["admin"],
        "version": "0.1.0",
        "features": ["aside", "schedules", "unique"],
        "ui": "full",
        "limits": {
            "payload_bytes": 262144,
            "result_bytes": 262144,
            "body_bytes": 1000000,
            "batch_jobs": 500,
            "json_depth": 64,
        },
        "at": "2026-07-27T15:31:24.123Z",
    },
    group="Operation",
)


class MeRoutes:
    """Answers from memory, so that it works while the store does not, unless the caller has a session."""

    def __init__(self, gate: Gate, bounds: Bounds, ui: UiMode, *, is_open: bool) -> None:
        self._gate = gate
        self._bounds = bounds
        self._ui = ui
        self._is_open = is_open

    async def show(self, request: Request, caller: Principal) -> Response:
        """Answer with who the caller is, whatever its scopes."""
        scope = request.scope
        caller = await self._gate.identify(read_headers(scope["headers"]), scope)
        if scope["query_string"]:
            refuse_parameters(scope["query_string"])
        return reply(
            Me(
                name=caller.name,
                open=self._is_open,
                via=caller.via,
                grants=list(dict.fromkeys(map(str, caller.grants))),
                version=__version__,
                features=list(FEATURES),
                ui=self._ui,
                limits=self._bounds,
                at=datetime.now(UTC),
            )
        )

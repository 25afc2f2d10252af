"""GET /v1/audit: who operated the server."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from queuey.api.http.auth import require
from queuey.api.http.endpoints import reply
from queuey.api.http.operations import Operation, Parameter
from queuey.api.http.query import parameters_of
from queuey.protocol.credentials import Principal
from queuey.protocol.models import AuditPage
from queuey.services.access.audit import MAX_PAGE, AuditLog

DEFAULT_PAGE: Final = 50
LIST: Final = Operation(
    "list_audit",
    "List what operators did, newest first",
    {200: AuditPage},
    description="It needs the scope admin over all queues. About the last 10,000 actions are kept. A dry run and a "
    "request without the right to it have no entry.",
    query=(
        Parameter("limit", Annotated[int, Meta(ge=1, le=MAX_PAGE)], "Maximum number of entries", DEFAULT_PAGE),
        Parameter("cursor", Annotated[str, Meta(min_length=1, max_length=40)], "`next` of the page before"),
    ),
    sample={
        "entries": [
            {
                "id": "1785166284123-0",
                "at": "2026-07-27T15:31:24.123Z",
                "name": "ops",
                "via": "session",
                "action": "dlq.replay",
                "target": None,
                "filter": {"type": "mail.send", "limit": 500},
                "number": 312,
                "outcome": "done",
            }
        ],
        "next": None,
    },
    group="Operation",
)


class AuditRoutes:
    """Answers the route of the audit log."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    async def list(self, request: Request, caller: Principal) -> Response:
        """Answer with a page of entries."""
        require(caller, "admin", None)
        with parameters_of(request, "limit", "cursor") as given:
            limit = given.whole_number("limit", least=1, most=MAX_PAGE, default=DEFAULT_PAGE)
            cursor = given.text("cursor", 40)
        return reply(await self._audit.page(limit, cursor))

"""Calls about access: who the caller is, what operators did, and the sessions of the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from queuey.client.transport import Http
from queuey.protocol.models import AuditEntry, AuditPage, Me

PAGE: Final = 100


class AccessCalls:
    """The calls of Client about access. All of them raise ClientError."""

    _http: Http

    async def me(self) -> Me:
        """Return who the caller is by its key, and the version and the limits of the server."""
        return await self._http.call("GET", "/v1/me", Me)

    async def audit(self) -> AsyncIterator[AuditEntry]:
        """Yield what operators did, newest first. Pages are fetched as needed."""
        query: dict[str, Any] = {"limit": PAGE}
        while True:
            page = await self._http.call("GET", "/v1/audit", AuditPage, query=query)
            for entry in page.entries:
                yield entry
            if page.next is None:
                return
            query["cursor"] = page.next

    async def end_sessions(self) -> None:
        """End all sessions of the page."""
        await self._http.call("DELETE", "/ui/sessions", type(None))

"""Calls about the dead-letter queue: list, replay, edit and delete dead jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import quote

from msgspec import Raw

from queuey.client.transport import Http
from queuey.protocol.json import strict
from queuey.protocol.models import DeadGroups, DeadLetter, DeadPage, DeadReply, EditReply

PAGE: Final = 100
SLOW: Final = 30.0
"""The seconds that the server may take to scan or move thousands of jobs."""


class DeadFilters(TypedDict, total=False):
    """Filters for dead jobs. A missing filter matches all. Ages are seconds since the job died."""

    queue: str
    type: str
    fingerprint: str
    older_than: float
    younger_than: float


class DeadCalls:
    """The calls of Client about dead jobs. All of them raise ClientError."""

    _http: Http

    async def dlq(self, **filters: Unpack[DeadFilters]) -> AsyncIterator[DeadLetter]:
        """Yield the dead jobs that match, longest dead first. Pages are fetched as needed."""
        query: dict[str, Any] = {**filters, "limit": PAGE}
        while True:
            page = await self._http.call("GET", "/v1/dlq", DeadPage, query=query, wait=SLOW)
            for job in page.jobs:
                yield job
            if page.next is None:
                return
            query["cursor"] = page.next

    async def dlq_groups(self, **filters: Unpack[DeadFilters]) -> DeadGroups:
        """Return the dead jobs grouped by error."""
        query: dict[str, Any] = {**filters}
        return await self._http.call("GET", "/v1/dlq/groups", DeadGroups, query=query, wait=SLOW)

    async def dlq_replay(
        self,
        *,
        limit: int = 1000,
        rate: float | None = None,
        dry_run: bool = False,
        **filters: Unpack[DeadFilters],
    ) -> DeadReply:
        """Replay up to `limit` dead jobs, longest dead first, at most `rate` a second."""
        body: dict[str, Any] = {**filters, "limit": limit, "dry_run": dry_run}
        if rate is not None:
            body["rate"] = rate
        return await self._http.call("POST", "/v1/dlq/replay", DeadReply, body=body, repeatable=dry_run, wait=SLOW)

    async def dlq_delete(
        self, *, limit: int = 1000, dry_run: bool = False, **filters: Unpack[DeadFilters]
    ) -> DeadReply:
        """Delete up to `limit` dead jobs, longest dead first."""
        body: dict[str, Any] = {**filters, "limit": limit, "dry_run": dry_run}
        return await self._http.call("POST", "/v1/dlq/delete", DeadReply, body=body, repeatable=dry_run, wait=SLOW)

    async def edit(self, id: str, payload: Any, *, requeue: bool = False) -> EditReply:
        """Replace the payload of a dead job, and retry it if `requeue`. Raises WrongState if the job is not dead."""
        path = f"/v1/jobs/{quote(id, safe='')}/payload"
        query = {"requeue": "true" if requeue else "false"}
        body = Raw(strict.encode(payload, "/payload"))  # an encoded null is a body; None would mean no body
        return await self._http.call("PUT", path, EditReply, query=query, body=body, repeatable=not requeue)

"""Calls about the dead-letter queue: look at it, run jobs anew, delete them, mend them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import quote

import msgspec
from msgspec import Raw

from queuey.client.transport import Http
from queuey.protocol.models import DeadGroups, DeadLetter, DeadPage, DeadReply, EditReply

PAGE: Final = 100
SLOW: Final = 30.0
"""Seconds that the server may take to walk through, or move, thousands of jobs."""

_encode = msgspec.json.Encoder().encode


class DeadFilters(TypedDict, total=False):
    """Which dead jobs; what is not said may be anything. Ages are seconds since they died."""

    queue: str
    type: str
    fingerprint: str
    older_than: float
    younger_than: float


class DeadCalls:
    """The part of Client that is about dead jobs. Everything here raises ClientError."""

    _http: Http

    async def dlq(self, **filters: Unpack[DeadFilters]) -> AsyncIterator[DeadLetter]:
        """Every dead job that fits, the longest dead first, page by page as they are asked for."""
        query: dict[str, Any] = {**filters, "limit": PAGE}
        while True:
            page = await self._http.call("GET", "/v1/dlq", DeadPage, query=query, wait=SLOW)
            for job in page.jobs:
                yield job
            if page.next is None:
                return
            query["cursor"] = page.next

    async def dlq_groups(self, **filters: Unpack[DeadFilters]) -> DeadGroups:
        """What jobs died of, and how many of each."""
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
        """Run up to so many dead jobs anew, the longest dead first; at most `rate` of them a second."""
        body: dict[str, Any] = {**filters, "limit": limit, "rate": rate, "dry_run": dry_run}
        return await self._http.call("POST", "/v1/dlq/replay", DeadReply, body=body, repeatable=dry_run, wait=SLOW)

    async def dlq_delete(
        self, *, limit: int = 1000, dry_run: bool = False, **filters: Unpack[DeadFilters]
    ) -> DeadReply:
        """Delete up to so many dead jobs for good, the longest dead first."""
        body: dict[str, Any] = {**filters, "limit": limit, "dry_run": dry_run}
        return await self._http.call("POST", "/v1/dlq/delete", DeadReply, body=body, repeatable=dry_run, wait=SLOW)

    async def edit(self, id: str, payload: Any, *, requeue: bool = False) -> EditReply:
        """Give a dead job another payload, and run it anew if `requeue`. Raises WrongState for any other."""
        path = f"/v1/jobs/{quote(id, safe='')}/payload"
        query = {"requeue": "true" if requeue else "false"}
        body = Raw(_encode(payload))  # an encoded null is a body, None would be none
        return await self._http.call("PUT", path, EditReply, query=query, body=body, repeatable=not requeue)

"""POST /v1/leases and what comes after: complete, fail, extend, release. For workers that pull jobs over HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from queuey.api.http.auth import require
from queuey.api.http.body import JSON, ClientGone, media_type, read_body, read_headers
from queuey.api.http.endpoints import reply
from queuey.api.http.problems import problem
from queuey.errors import QueueyError
from queuey.protocol.credentials import Principal
from queuey.protocol.models import (
    CompleteItem,
    ExtendItem,
    FailItem,
    LeaseOutcome,
    LeaseOutcomes,
    LeaseReply,
    LeaseRequest,
    ReleaseItem,
)
from queuey.services.leases.outcomes import Told, Visible, raise_if_store_failed, single
from queuey.services.leases.pulling import Pulling
from queuey.services.leases.requests import Given, LeaseRequests

WORK: Final = "work"
_DRAINING: Final = {"Connection": "close", "Retry-After": "1"}
"""Another replica may have jobs, and this one ends."""
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]")

Item = TypeVar("Item", bound=CompleteItem | FailItem | ExtendItem | ReleaseItem)


class LeaseRoutes:
    """The endpoints of pull workers. Limits are in bytes."""

    def __init__(self, pulling: Pulling, *, json_depth: int, result_limit: int, body_limit: int) -> None:
        self._pulling = pulling
        self._requests = LeaseRequests(json_depth, result_limit)
        self._body_limit = body_limit

    async def lease(self, request: Request, caller: Principal) -> Response:
        asked = self._requests.lease(await self._body(request))
        if not caller.allows(WORK):
            for queue in asked.queues:
                require(caller, WORK, queue)
        watch = asyncio.ensure_future(_until_gone(request.receive))
        try:
            jobs = await self._pulling.leasing.lease(
                asked, owner=caller.name, worker=_worker_of(asked, request, caller), gone=watch
            )
            if watch.done():
                raise ClientGone
        finally:
            watch.cancel()
        return reply(LeaseReply(jobs), headers=_DRAINING if self._pulling.leasing.polls.closed and not jobs else None)

    async def complete(self, request: Request, caller: Principal) -> Response:
        return await self._tell(self._requests.complete, self._pulling.outcomes.complete, request, caller)

    async def fail(self, request: Request, caller: Principal) -> Response:
        return await self._tell(self._requests.fail, self._pulling.outcomes.fail, request, caller)

    async def extend(self, request: Request, caller: Principal) -> Response:
        return await self._tell(self._requests.extend, self._pulling.outcomes.extend, request, caller)

    async def release(self, request: Request, caller: Principal) -> Response:
        return await self._tell(self._requests.release, self._pulling.outcomes.release, request, caller)

    async def _tell(
        self,
        read: Callable[[bytes], Given[Item]],
        tell: Callable[[Sequence[Item | QueueyError], Visible], Awaitable[list[Told]]],
        request: Request,
        caller: Principal,
    ) -> Response:
        """One job is answered by its outcome or a problem; a batch always by an outcome for each."""
        given = read(await self._body(request))
        told = await tell(given.items, _visible_to(caller))
        if given.single:
            return reply(single(told[0]))
        raise_if_store_failed(told)
        return reply(LeaseOutcomes([_entry(item, one) for item, one in zip(given.items, told, strict=True)]))

    async def _body(self, request: Request) -> bytes:
        headers = read_headers(request.scope["headers"])
        media_type(headers, JSON)
        return await read_body(headers, request.receive, self._body_limit)


async def _until_gone(receive: Receive) -> None:
    """Returns once the client has hung up: after the body there is nothing else to come."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _worker_of(asked: LeaseRequest, request: Request, caller: Principal) -> str:
    """The name that the client gives itself, or else whose key it is and where it calls from."""
    if asked.worker is not None:
        return asked.worker
    host = request.client.host if request.client else "unknown"
    return f"{caller.name}-{_UNFIT.sub('-', host)[:45]}"


def _visible_to(caller: Principal) -> Visible:
    if caller.allows(WORK):
        return None

    def visible(queue: str) -> bool:
        return caller.allows(WORK, queue)

    return visible


def _entry(item: object, told: Told) -> LeaseOutcome:
    if isinstance(told, LeaseOutcome):
        return told
    if isinstance(item, QueueyError):
        return LeaseOutcome(error=problem(told))
    return LeaseOutcome(id=item.id, error=problem(told))  # type: ignore[attr-defined]

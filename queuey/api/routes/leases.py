"""The routes of pull workers: lease jobs, and complete, fail, extend or release leases."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from queuey.api.http.auth import require
from queuey.api.http.body import JSON, ClientDisconnected, media_type, read_body, read_headers
from queuey.api.http.endpoints import reply
from queuey.api.http.operations import Operation
from queuey.api.http.problems import problem
from queuey.api.http.waiting import until_disconnected
from queuey.api.openapi.samples import JOB_ID, LEASED
from queuey.errors import Full, LostLease, NotFound, QueueyError
from queuey.protocol.credentials import Principal
from queuey.protocol.models import (
    CompleteBatch,
    CompleteItem,
    ExtendBatch,
    ExtendItem,
    FailBatch,
    FailItem,
    LeaseOutcome,
    LeaseOutcomes,
    LeaseReply,
    LeaseRequest,
    ReleaseBatch,
    ReleaseItem,
)
from queuey.services.leases.outcomes import Outcome, Visible, raise_if_store_failed, single
from queuey.services.leases.pulling import Pulling
from queuey.services.leases.requests import Given, LeaseRequests

WORK: Final = "work"
_DRAINING: Final = {"Connection": "close", "Retry-After": "1"}
"""The headers of an answer without jobs while this replica stops. They make the client ask another replica."""
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]")

Item = TypeVar("Item", bound=CompleteItem | FailItem | ExtendItem | ReleaseItem)

_GROUP: Final = "Pull workers"
_LEASED_JOB: Final = {"id": JOB_ID, "token": "1.J9TQ2M7RXKD4"}
_SAMPLE: Final = {"id": _LEASED_JOB["id"], "status": "ok"}
_ONE_OR_MANY: Final = (
    "Send one job, or up to 500 as `jobs`; each of them has its own outcome. Sending it again is safe: the same token "
    "gets the same answer."
)


def _outcome(name: str, summary: str, item: type, batch: type, **more: Any) -> Operation:
    return Operation(
        name,
        summary,
        {200: (LeaseOutcome, LeaseOutcomes)},
        description=_ONE_OR_MANY,
        body=(item, batch),
        example=_LEASED_JOB | more,
        sample=_SAMPLE | ({"status": "retry"} if item is FailItem else {}),
        errors=(LostLease, NotFound),
        group=_GROUP,
    )


LEASE: Final = Operation(
    "lease_jobs",
    "Lease jobs, and wait for the first if there is none",
    {200: LeaseReply},
    description="The same `claim_id` within the lease returns the same jobs. The list is empty when no job came.",
    body=LeaseRequest,
    example={"queues": ["default"], "max": 10, "lease": 30, "wait": 0},
    sample=LEASED,
    errors=(Full,),
    group=_GROUP,
)
COMPLETE: Final = _outcome(
    "complete_leases", "Report that jobs have succeeded", CompleteItem, CompleteBatch, result={"n": 49}
)
FAIL: Final = _outcome("fail_leases", "Report that attempts have failed", FailItem, FailBatch, error="no connection")
EXTEND: Final = _outcome("extend_leases", "Extend leases", ExtendItem, ExtendBatch, lease=30)
RELEASE: Final = _outcome("release_leases", "Release jobs without spending an attempt", ReleaseItem, ReleaseBatch)


class LeaseRoutes:
    """Answers the routes of pull workers. Limits are in bytes."""

    def __init__(self, pulling: Pulling, *, json_depth: int, result_limit: int, body_limit: int) -> None:
        self._pulling = pulling
        self._requests = LeaseRequests(json_depth, result_limit)
        self._body_limit = body_limit

    async def lease(self, request: Request, caller: Principal) -> Response:
        """Lease up to `max` jobs, and wait for the first of them."""
        asked = self._requests.lease(await self._body(request))
        if not caller.allows(WORK):
            for queue in asked.queues:
                require(caller, WORK, queue)
        watch = asyncio.ensure_future(until_disconnected(request.receive))
        try:
            jobs = await self._pulling.leasing.lease(
                asked, owner=caller.name, worker=_worker_of(asked, request, caller), disconnected=watch
            )
            if watch.done():
                raise ClientDisconnected
        finally:
            watch.cancel()
        return reply(LeaseReply(jobs), headers=_DRAINING if self._pulling.leasing.polls.closed and not jobs else None)

    async def complete(self, request: Request, caller: Principal) -> Response:
        """Record the results of jobs."""
        return await self._report(self._requests.complete, self._pulling.outcomes.complete, request, caller)

    async def fail(self, request: Request, caller: Principal) -> Response:
        """Record failed attempts."""
        return await self._report(self._requests.fail, self._pulling.outcomes.fail, request, caller)

    async def extend(self, request: Request, caller: Principal) -> Response:
        """Extend leases, and record the progress of their jobs."""
        return await self._report(self._requests.extend, self._pulling.outcomes.extend, request, caller)

    async def release(self, request: Request, caller: Principal) -> Response:
        """Give jobs back to the heads of their queues."""
        return await self._report(self._requests.release, self._pulling.outcomes.release, request, caller)

    async def _report(
        self,
        read: Callable[[bytes], Given[Item]],
        report: Callable[[Sequence[Item | QueueyError], Visible], Awaitable[list[Outcome]]],
        request: Request,
        caller: Principal,
    ) -> Response:
        """Answer a single job with its outcome or a problem, and a batch with an outcome for each of its jobs."""
        given = read(await self._body(request))
        outcomes = await report(given.items, _visible_to(caller))
        if given.single:
            return reply(single(outcomes[0]))
        raise_if_store_failed(outcomes)
        return reply(LeaseOutcomes([_entry(item, one) for item, one in zip(given.items, outcomes, strict=True)]))

    async def _body(self, request: Request) -> bytes:
        headers = read_headers(request.scope["headers"])
        media_type(headers, JSON)
        return await read_body(headers, request.receive, self._body_limit)


def _worker_of(asked: LeaseRequest, request: Request, caller: Principal) -> str:
    """Return the name from the request, or else a name made from the key's name and the client's address."""
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


def _entry(item: object, outcome: Outcome) -> LeaseOutcome:
    if isinstance(outcome, LeaseOutcome):
        return outcome
    if isinstance(item, QueueyError):
        return LeaseOutcome(error=problem(outcome))
    return LeaseOutcome(id=item.id, error=problem(outcome))  # type: ignore[attr-defined]

"""The routes of pull workers: lease jobs, and complete, fail, extend or release leases."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from msgspec import UNSET, Raw
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
    CheckpointBatch,
    CheckpointItem,
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
    LogBatch,
    LogItem,
    ReleaseBatch,
    ReleaseItem,
)
from queuey.services.leases.outcomes import Outcome, Visible, raise_if_store_failed, single
from queuey.services.leases.plain_results import PlainResults
from queuey.services.leases.pulling import Pulling
from queuey.services.leases.requests import Given, LeaseRequests

WORK: Final = "work"
_DRAINING: Final = {"Connection": "close", "Retry-After": "1"}
"""The headers of an answer without jobs while this replica stops. They make the client ask another replica."""
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]")

Item = TypeVar("Item", bound=CheckpointItem | CompleteItem | FailItem | ExtendItem | LogItem | ReleaseItem)

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
CHECKPOINT: Final = _outcome(
    "checkpoint_leases", "Keep values for the next attempts", CheckpointItem, CheckpointBatch, checkpoint={"line": 1000}
)
LOG: Final = _outcome(
    "log_leases", "Keep the lines that attempts have logged", LogItem, LogBatch, lines=[{"text": "page 3 of 12"}]
)
RELEASE: Final = _outcome("release_leases", "Release jobs without spending an attempt", ReleaseItem, ReleaseBatch)


class LeaseRoutes:
    """Answers the routes of pull workers. Limits are in bytes."""

    in_groups = True
    """Whether plain reports of results are read and stored in groups. The other way is the reference, for tests."""

    def __init__(self, pulling: Pulling, *, json_depth: int, result_limit: int, body_limit: int) -> None:
        self._pulling = pulling
        self._requests = LeaseRequests(json_depth, result_limit)
        self._plain = PlainResults(json_depth, result_limit)
        self._body_limit = body_limit

    async def lease(self, request: Request, caller: Principal) -> Response:
        """Lease up to `max` jobs, and wait for the first of them."""
        asked = self._requests.lease(await self._body(request))
        if not caller.allows(WORK):
            for queue in asked.queues:
                require(caller, WORK, queue)
        watch = asyncio.create_task(until_disconnected(request.receive))
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
        text = await self._body(request)
        plain = self._plain.read(text) if self.in_groups and caller.allows(WORK) else None
        if plain is None:
            return await self._report(self._requests.complete, self._pulling.outcomes.complete, text, caller)
        outcomes = await self._pulling.outcomes.complete_plain(plain)
        return reply(_all_ok(plain.ids) if outcomes is None else _each(plain.ids, outcomes))

    async def fail(self, request: Request, caller: Principal) -> Response:
        """Record failed attempts."""
        text = await self._body(request)
        return await self._report(self._requests.fail, self._pulling.outcomes.fail, text, caller)

    async def extend(self, request: Request, caller: Principal) -> Response:
        """Extend leases, and record the progress of their jobs."""
        text = await self._body(request)
        return await self._report(self._requests.extend, self._pulling.outcomes.extend, text, caller)

    async def checkpoint(self, request: Request, caller: Principal) -> Response:
        """Keep values for the next attempts of jobs."""
        text = await self._body(request)
        return await self._report(self._requests.checkpoint, self._pulling.outcomes.checkpoint, text, caller)

    async def log(self, request: Request, caller: Principal) -> Response:
        """Keep the lines that attempts have logged."""
        text = await self._body(request)
        return await self._report(self._requests.log, self._pulling.outcomes.log, text, caller)

    async def release(self, request: Request, caller: Principal) -> Response:
        """Give jobs back to the heads of their queues."""
        text = await self._body(request)
        return await self._report(self._requests.release, self._pulling.outcomes.release, text, caller)

    async def _report(
        self,
        read: Callable[[bytes], Given[Item]],
        report: Callable[[Sequence[Item | QueueyError], Visible], Awaitable[list[Outcome]]],
        text: bytes,
        caller: Principal,
    ) -> Response:
        """Answer a single job with its outcome or a problem, and a batch with an outcome for each of its jobs."""
        given = read(text)
        outcomes = await report(given.items, _visible_to(caller))
        if given.single:
            return reply(single(outcomes[0]))
        return reply(_each([None if isinstance(item, QueueyError) else item.id for item in given.items], outcomes))

    async def _body(self, request: Request) -> bytes:
        headers = read_headers(request.scope["headers"])
        media_type(headers, JSON)
        return await read_body(headers, request.receive, self._body_limit)


def _worker_of(asked: LeaseRequest, request: Request, caller: Principal) -> str:
    """Return the name from the request, or else a name made from the key's name and the client's address."""
    if asked.worker is not None:
        return asked.worker
    client = request.client  # each access makes an object
    host = client.host if client else "unknown"
    return f"{caller.name}-{_UNFIT.sub('-', host)[:45]}"


def _visible_to(caller: Principal) -> Visible:
    if caller.allows(WORK):
        return None

    def visible(queue: str) -> bool:
        return caller.allows(WORK, queue)

    return visible


def _all_ok(job_ids: Sequence[str]) -> Raw:
    """Return what `_each` returns if each outcome is `ok`, as JSON. No character of an id is escaped."""
    return Raw(b'{"results":[{"id":"%b","status":"ok"}]}' % '","status":"ok"},{"id":"'.join(job_ids).encode())


def _each(job_ids: Sequence[str | None], outcomes: Sequence[Outcome]) -> LeaseOutcomes:
    """Return the answer to a batch. An item without an id is one that could not be read."""
    raise_if_store_failed(outcomes)
    return LeaseOutcomes([_entry(job_id, one) for job_id, one in zip(job_ids, outcomes, strict=True)])


def _entry(job_id: str | None, outcome: Outcome) -> LeaseOutcome:
    if isinstance(outcome, LeaseOutcome):
        return outcome
    return LeaseOutcome(id=UNSET if job_id is None else job_id, error=problem(outcome))

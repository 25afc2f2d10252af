"""Calls of a pull worker: take jobs, and tell what came of them. All may be done twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from queuey.client.batches import batches
from queuey.client.transport import Http
from queuey.protocol import ids
from queuey.protocol.models import (
    MAX_LEASED,
    CompleteItem,
    ExtendItem,
    FailItem,
    LeasedJob,
    LeaseOutcome,
    LeaseOutcomes,
    LeaseReply,
    LeaseRequest,
    ProgressReport,
    ReleaseItem,
    ReportedError,
)

Item = TypeVar("Item", CompleteItem, FailItem, ExtendItem, ReleaseItem)

_encode: Final = msgspec.json.Encoder().encode


class LeaseCalls:
    """The part of Client for workers. Those that tell of one job raise LostLease when it is another worker's by now;
    those that tell of many (`..._many`) have an outcome for each: a `status` or an `error`."""

    _http: Http

    async def lease(
        self,
        queues: Sequence[str] = ("default",),
        *,
        max: int = 1,
        lease: float = 30.0,
        wait: float = 0.0,
        claim_id: str | None = None,
        worker: str | None = None,
    ) -> list[LeasedJob]:
        """Up to `max` jobs, each this worker's for `lease` seconds; waits up to `wait` seconds for the first.

        The same `claim_id` brings the same jobs again within the lease; without one, each call has its own.
        """
        request = LeaseRequest(list(queues), max, lease, wait, claim_id or ids.short_random(), worker)
        reply = await self._http.call("POST", "/v1/leases", LeaseReply, body=request, wait=wait)
        return reply.jobs

    async def complete(self, job: LeasedJob, result: Any = None) -> LeaseOutcome:
        """The job is done. The result is what msgspec can write as JSON."""
        return await self._tell("complete", CompleteItem(job.id, job.token, Raw(_encode(result))))

    async def fail(
        self,
        job: LeasedJob,
        error: str | ReportedError,
        *,
        retry_after: float | None = None,
        dead: bool = False,
    ) -> LeaseOutcome:
        """The attempt failed. It is retried by the job's backoff, in `retry_after` seconds, or, when `dead`, never."""
        return await self._tell("fail", FailItem(job.id, job.token, error, retry_after, dead))

    async def extend(
        self, job: LeasedJob, lease: float = 30.0, *, progress: ProgressReport | None = None
    ) -> LeaseOutcome:
        """The lease ends in `lease` seconds from now. The status is `cancelled` when the job is to be stopped."""
        return await self._tell("extend", ExtendItem(job.id, job.token, lease, progress))

    async def release(self, job: LeasedJob) -> LeaseOutcome:
        """Give it back: it stands at the head of its lane, with no attempt spent."""
        return await self._tell("release", ReleaseItem(job.id, job.token))

    async def complete_many(self, items: Sequence[CompleteItem]) -> list[LeaseOutcome]:
        return await self._tell_many("complete", items)

    async def fail_many(self, items: Sequence[FailItem]) -> list[LeaseOutcome]:
        return await self._tell_many("fail", items)

    async def extend_many(self, items: Sequence[ExtendItem]) -> list[LeaseOutcome]:
        return await self._tell_many("extend", items)

    async def release_many(self, items: Sequence[ReleaseItem]) -> list[LeaseOutcome]:
        return await self._tell_many("release", items)

    async def _tell(self, verb: str, item: Item) -> LeaseOutcome:
        return await self._http.call("POST", f"/v1/leases/{verb}", LeaseOutcome, body=item)

    async def _tell_many(self, verb: str, items: Sequence[Item]) -> list[LeaseOutcome]:
        told: list[LeaseOutcome] = []
        for batch in batches(map(_encode, items), MAX_LEASED):
            reply = await self._http.call("POST", f"/v1/leases/{verb}", LeaseOutcomes, body={"jobs": batch})
            told += reply.results
        return told

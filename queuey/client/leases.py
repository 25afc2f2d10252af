"""Calls of a pull worker: lease jobs and report their outcomes. All are safe to repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw

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
    LeaseRoom,
    ProgressReport,
    ReleaseItem,
    ReportedError,
)

Item = TypeVar("Item", CompleteItem, FailItem, ExtendItem, ReleaseItem)

_encode: Final = msgspec.json.Encoder().encode


class LeaseCalls:
    """The calls of Client for pull workers.

    A call about one job raises LostLease if another worker has the job now. A call about many jobs (`..._many`) returns
    an outcome for each: a `status` or an `error`.
    """

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
        types: Sequence[str] | None = None,
        room: Sequence[LeaseRoom] | None = None,
        isolates: int | None = None,
    ) -> list[LeasedJob]:
        """Lease up to `max` jobs for `lease` seconds each. Wait up to `wait` seconds for the first.

        The same `claim_id` returns the same jobs again within the lease. By default each call has a new one. `types`:
        the types that this worker knows; None for every type. `room`: it can begin only so many jobs of some types.
        `isolates`: how many jobs with two crashes or more it can begin now, each in a process of its own.
        """
        request = LeaseRequest(
            list(queues),
            max,
            lease,
            wait,
            claim_id or ids.short_random(),
            worker,
            types=UNSET if types is None else list(types),
            room=UNSET if room is None else list(room),
            isolates=UNSET if isolates is None else isolates,
        )
        reply = await self._http.call("POST", "/v1/leases", LeaseReply, body=request, wait=wait)
        return reply.jobs

    async def complete(self, job: LeasedJob, result: Any = None) -> LeaseOutcome:
        """Report that the job succeeded. The result is anything that msgspec can encode as JSON."""
        return await self._report("complete", CompleteItem(job.id, job.token, Raw(_encode(result))))

    async def fail(
        self,
        job: LeasedJob,
        error: str | ReportedError,
        *,
        retry_after: float | None = None,
        dead: bool = False,
    ) -> LeaseOutcome:
        """Report a failed attempt. The job is retried after its backoff or `retry_after` seconds, never if `dead`."""
        return await self._report("fail", FailItem(job.id, job.token, error, retry_after, dead))

    async def extend(
        self, job: LeasedJob, lease: float = 30.0, *, progress: ProgressReport | None = None
    ) -> LeaseOutcome:
        """Extend the lease to `lease` seconds from now. The status `cancelled` means that the job should stop."""
        return await self._report("extend", ExtendItem(job.id, job.token, lease, progress))

    async def release(self, job: LeasedJob) -> LeaseOutcome:
        """Release the job to the head of its lane. No attempt is spent."""
        return await self._report("release", ReleaseItem(job.id, job.token))

    async def complete_many(self, items: Sequence[CompleteItem]) -> list[LeaseOutcome]:
        """Report that jobs succeeded."""
        return await self._report_many("complete", items)

    async def fail_many(self, items: Sequence[FailItem]) -> list[LeaseOutcome]:
        """Report failed attempts."""
        return await self._report_many("fail", items)

    async def extend_many(self, items: Sequence[ExtendItem]) -> list[LeaseOutcome]:
        """Extend leases."""
        return await self._report_many("extend", items)

    async def release_many(self, items: Sequence[ReleaseItem]) -> list[LeaseOutcome]:
        """Release jobs."""
        return await self._report_many("release", items)

    async def _report(self, verb: str, item: Item) -> LeaseOutcome:
        return await self._http.call("POST", f"/v1/leases/{verb}", LeaseOutcome, body=item)

    async def _report_many(self, verb: str, items: Sequence[Item]) -> list[LeaseOutcome]:
        outcomes: list[LeaseOutcome] = []
        for batch in batches(map(_encode, items), MAX_LEASED):
            reply = await self._http.call("POST", f"/v1/leases/{verb}", LeaseOutcomes, body={"jobs": batch})
            outcomes += reply.results
        return outcomes

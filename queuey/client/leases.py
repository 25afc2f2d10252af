"""Calls of a pull worker: lease jobs and report their outcomes. All are safe to repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from msgspec import UNSET, Raw

from queuey.client.batches import batches
from queuey.client.transport import Http
from queuey.protocol import ids
from queuey.protocol.json import strict
from queuey.protocol.models import (
    MAX_LEASED,
    MAX_LOG_LINES,
    CheckpointItem,
    CompleteItem,
    ExtendItem,
    FailItem,
    LeasedJob,
    LeaseOutcome,
    LeaseOutcomes,
    LeaseReply,
    LeaseRequest,
    LeaseRoom,
    LoggedLine,
    LogItem,
    ProgressReport,
    ReleaseItem,
    ReportedError,
)

Item = TypeVar("Item", CheckpointItem, CompleteItem, FailItem, ExtendItem, LogItem, ReleaseItem)


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
        app: str | None = None,
        type_queues: Mapping[str, Sequence[str]] | None = None,
        isolates: int | None = None,
    ) -> list[LeasedJob]:
        """Lease up to `max` jobs for `lease` seconds each. Wait up to `wait` seconds for the first.

        The same `claim_id` returns the same jobs again within the lease. By default each call has a new one. `types`:
        the types that this worker knows; None for every type. `room`: it can begin only so many jobs of some types.
        `app`: the name of its App. `type_queues`: the types whose queue it knows, by queue.
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
            app=UNSET if app is None else app,
            type_queues=UNSET if type_queues is None else {queue: list(names) for queue, names in type_queues.items()},
            isolates=UNSET if isolates is None else isolates,
        )
        reply = await self._http.call("POST", "/v1/leases", LeaseReply, body=request, wait=wait)
        return reply.jobs

    async def complete(self, job: LeasedJob, result: Any = None) -> LeaseOutcome:
        """Report that the job succeeded. The result is anything that msgspec can encode as JSON."""
        return await self._report("complete", CompleteItem(job.id, job.token, Raw(strict.encode(result, "/result"))))

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

    async def snooze(self, job: LeasedJob, delay: float, reason: str = "") -> LeaseOutcome:
        """Have the job run again in `delay` seconds. It spends no attempt, and is possible 1,000 times a run.

        A server of an older release refuses it. Raises Invalid then.
        """
        return await self._report("fail", FailItem(job.id, job.token, reason, snooze=delay))

    async def checkpoint(self, job: LeasedJob, value: Any, *, number: int | None = None) -> LeaseOutcome:
        """Keep a value of at most 65,536 bytes of JSON for the next attempts, which have it as `checkpoint`.

        None means that nothing is kept any more. A success removes it too. `number` counts the checkpoints of this
        lease, from 1. With it, a request that arrives late does not replace a later value.
        """
        raw = Raw(strict.encode(value, "/checkpoint"))
        return await self._report(
            "checkpoint", CheckpointItem(job.id, job.token, raw, UNSET if number is None else number)
        )

    async def extend(
        self, job: LeasedJob, lease: float = 30.0, *, progress: ProgressReport | None = None
    ) -> LeaseOutcome:
        """Extend the lease to `lease` seconds from now. The status `cancelled` means that the job should stop."""
        return await self._report("extend", ExtendItem(job.id, job.token, lease, progress))

    async def keep_log(self, job: LeasedJob, lines: Sequence[LoggedLine]) -> LeaseOutcome:
        """Keep the lines that this attempt has logged: all of them, or the last 100. Those sent before are replaced."""
        return await self._report("log", LogItem(job.id, job.token, list(lines)[-MAX_LOG_LINES:], job.attempt))

    async def release(self, job: LeasedJob) -> LeaseOutcome:
        """Release the job to the head of its lane. No attempt is spent."""
        return await self._report("release", ReleaseItem(job.id, job.token))

    async def complete_many(self, items: Sequence[CompleteItem]) -> list[LeaseOutcome]:
        """Report that jobs succeeded."""
        return await self._report_many("complete", items)

    async def checkpoint_many(self, items: Sequence[CheckpointItem]) -> list[LeaseOutcome]:
        """Keep values for the next attempts."""
        return await self._report_many("checkpoint", items)

    async def fail_many(self, items: Sequence[FailItem]) -> list[LeaseOutcome]:
        """Report failed attempts."""
        return await self._report_many("fail", items)

    async def extend_many(self, items: Sequence[ExtendItem]) -> list[LeaseOutcome]:
        """Extend leases."""
        return await self._report_many("extend", items)

    async def keep_log_many(self, items: Sequence[LogItem]) -> list[LeaseOutcome]:
        """Keep the lines that attempts have logged."""
        return await self._report_many("log", items)

    async def release_many(self, items: Sequence[ReleaseItem]) -> list[LeaseOutcome]:
        """Release jobs."""
        return await self._report_many("release", items)

    async def _report(self, verb: str, item: Item) -> LeaseOutcome:
        return await self._http.call("POST", f"/v1/leases/{verb}", LeaseOutcome, body=item)

    async def _report_many(self, verb: str, items: Sequence[Item]) -> list[LeaseOutcome]:
        outcomes: list[LeaseOutcome] = []
        for batch in batches(map(strict.encode, items), MAX_LEASED):
            reply = await self._http.call("POST", f"/v1/leases/{verb}", LeaseOutcomes, body={"jobs": batch})
            outcomes += reply.results
        return outcomes

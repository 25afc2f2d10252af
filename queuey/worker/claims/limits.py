"""The limits of a worker's claims: how many jobs can begin, of which types, and how many of those that crashed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from queuey.protocol.records import SUSPECT
from queuey.store.asides import ELSEWHERE
from queuey.worker.claims.strangers import Strangers
from queuey.worker.held_job import Leased
from queuey.worker.slots import Slots
from queuey.worker.source import ClaimRequest, JobSource, Offered

Job = TypeVar("Job", bound=Leased)


class ClaimLimits:
    """Makes the requests of claims. `crashes` returns those of each job that the worker holds and that has crashed.

    `max_isolated`: the number of suspects that run at a time, each in a child process of its own.
    """

    def __init__(
        self,
        source: JobSource[Any],
        slots: Slots,
        strangers: Strangers,
        crashes: Callable[[], Sequence[int]],
        max_isolated: int,
    ) -> None:
        self._source = source
        self._slots = slots
        self._strangers = strangers
        self._crashes = crashes
        self._max_isolated = max_isolated
        self.took_late = False
        """Whether jobs of a late answer got slots that may have been promised to the claim that is under way."""

    @property
    def free(self) -> int:
        """The number of jobs that may be claimed now."""
        return self._slots.least if self._source.ignores_room else self._slots.free

    def request(self, offered: Offered | None = None, woken: Collection[str] = ()) -> ClaimRequest:
        """Return the request for a claim. One with an offer repeats that: nothing more is promised to it."""
        if offered is None:
            self.took_late = False
        crashes = self._crashes()
        request = ClaimRequest(
            slots=self._slots.total,
            free=self.free,
            room=self._slots.rooms(self._slots.free),
            knows=self._slots.knows,
            unknown=self._strangers.types.keys(),
            woken=woken,
            holds_suspect=bool(crashes),
            isolates=self._isolates(crashes),
            offered=offered,
            queues=None if self._slots.queues is None else self._slots.queues.open or None,
        )
        return request if self._slots.queues is None else self._with_roomy(request)

    def _with_roomy(self, request: ClaimRequest) -> ClaimRequest:
        roomy = self._slots.roomy()
        if roomy is None or self._source.ignores_room or request.offered is not None or request.woken:
            return request
        queues, free = roomy
        return replace(request, roomy=replace(request, queues=queues, free=free, room=self._slots.rooms(free)))

    def _isolates(self, crashes: Sequence[int]) -> int | None:
        if self._max_isolated:
            return max(0, self._max_isolated - sum(1 for count in crashes if count >= SUSPECT))
        return ELSEWHERE if self._source.shards > 1 else None  # no store would see what runs beside a suspect

    def give_slots(self, jobs: Sequence[Job], *, was_late: bool) -> tuple[Sequence[Job], Sequence[Job]]:
        """Give jobs slots. Return them, and those that get none.

        No slots are reserved for a claim that is late. It may also take those of the claim that is under way.
        """
        if was_late or self.took_late:
            kept: list[Job] = []
            surplus: list[Job] = []
            for job in jobs:
                (kept if self._takes(job) else surplus).append(job)
            self.took_late = self.took_late or bool(kept)
            return kept, surplus
        types = map(self._source.type_of, jobs) if self._slots.mixed else ()
        self._slots.take(len(jobs), types)
        self._count_queues(jobs)
        return jobs, ()

    def _count_queues(self, jobs: Iterable[Leased]) -> None:
        if self._slots.queues is not None:
            for job in jobs:
                self._slots.queues.take(job.id, job.token, self._source.queue_of(job))

    def _takes(self, job: Leased) -> bool:
        type = self._source.type_of(job)
        room = self._slots.room_for(type) if self._slots.knows(type) else self.free
        if room < 1 or (job.crashes and self._crashes()):
            return False
        if self._slots.queues is not None and self._slots.room_in(self._source.queue_of(job)) < 1:
            return False
        self._slots.take(1, (type,))
        self._count_queues((job,))
        return True

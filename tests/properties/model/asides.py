"""What the scripts promise of lists set aside, and of whole queues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from queuey.protocol.models import PRIORITIES, Priority
from queuey.store.asides import ANY, SUSPECTS
from tests.properties.model.contents import Lane, Spot
from tests.properties.model.unique import Keys

MAX_NAMES = (64, 32)


class Asides(Keys):
    most_names: tuple[int, int] = MAX_NAMES
    """How many types of a queue get a list, and how many if the worker that meets them does not know them."""

    # --- names ---------------------------------------------------------------------------------------------------

    @property
    def gate_is_open(self) -> bool:
        return "aside" in self.features

    def add_name(self, lane: Lane, kind: str, most: float) -> bool:
        names = self.names[lane[0]]
        if kind not in (ANY, SUSPECTS) and sum(name not in (ANY, SUSPECTS) for _, name in names) >= most:
            return False
        names.append((lane[1], kind))
        return True

    def is_named(self, lane: Lane, kind: str) -> bool:
        return (lane[1], kind) in self.names.get(lane[0], ())

    def list_for(self, lane: Lane, kind: str, known: bool) -> str | None:
        """The type of the list to which a job is set aside; None = nothing may be set aside yet."""
        if self.is_named(lane, kind):
            return kind
        if not self.gate_is_open:
            return None
        if self.add_name(lane, kind, self.most_names[not known]):
            return kind
        if not self.is_named(lane, ANY):
            self.add_name(lane, ANY, 0)
        return ANY

    def wake_type(self, queue: str, kind: str) -> None:
        if kind == SUSPECTS:
            self.awake.add(queue)
        elif kind != ANY:
            self.awake.add(f"{queue}:{kind}")

    def set_suspect_aside(self, job_id: str) -> None:
        self.asides[self.spot_of_suspect(job_id)].append(job_id)

    def spot_of_suspect(self, job_id: str) -> Spot:
        """The list in which it is to wait. Names the list, and wakes a replica."""
        job = self.jobs[job_id]
        if not self.is_named((job.queue, job.lane), SUSPECTS):
            self.add_name((job.queue, job.lane), SUSPECTS, 0)
        self.awake.add(job.queue)
        return job.queue, job.lane, SUSPECTS

    def tidy(self, queues: Iterable[str]) -> list[tuple[str, str, str, int]]:
        """Names of empty lists go. Returns the others with their lengths."""
        lengths: list[tuple[str, str, str, int]] = []
        for queue in queues:
            names = self.names.pop(queue, [])
            kept = [(lane, kind) for lane, kind in names if self.asides[queue, lane, kind]]
            lengths += [(queue, lane, kind, len(self.asides[queue, lane, kind])) for lane, kind in kept]
            self.awake -= {f"{queue}:{kind}" for _, kind in names} - {f"{queue}:{kind}" for _, kind in kept}
            if kept:
                self.names[queue] = kept
        return lengths

    def name_again(self, lists: Sequence[Spot]) -> int:
        missing = [spot for spot in lists if not self.is_named(spot[:2], spot[2]) and self.asides[spot]]
        for queue, lane, kind in missing:
            self.names[queue].append((lane, kind))
            self.wake_type(queue, kind)
            self.queues.add(queue)
        return len(missing)

    # --- moves ---------------------------------------------------------------------------------------------------

    def bury_unknown(
        self, now: int, limit: int, lists: Sequence[tuple[str, Priority, str, int]], known: Sequence[str]
    ) -> tuple[list[str], list[str], bool]:
        """The dead letters, the expired, and whether it stopped at the limit."""
        dead: list[str] = []
        expired: list[str] = []
        left = limit
        for queue, lane, kind, ttl in lists:
            ids, stay = self.asides[queue, lane, kind], list[str]()
            for job_id in ids[:left]:
                left -= 1
                how = self._fate(now, (queue, lane, kind), job_id, ttl, known)
                if how == "stays" and kind != ANY:
                    break
                del ids[0]
                if how == "stays":
                    stay.append(job_id)
                elif how == "expired":
                    self._expire(now, job_id)
                    expired.append(job_id)
                elif how == "late":
                    job = self.jobs[job_id]
                    self._add_error(job, now, job.attempts + 1, "unknown_type")
                    self._bury(now, job_id)
                    self._count(now, "unknown_type")
                    dead.append(job_id)
            ids += stay
        return dead, expired, left == 0

    def _fate(self, now: int, spot: Spot, job_id: str, ttl: int, known: Sequence[str]) -> str:
        if not self.fits(spot, job_id):
            return "tombstone"
        job = self.jobs[job_id]
        if self._has_expired(now, job):
            return "expired"
        return "late" if ttl and now - job.ready_at > ttl and job.type not in known else "stays"

    # --- queues --------------------------------------------------------------------------------------------------

    def purge(self, now: int, queue: str, queued: bool, scheduled: bool, limit: int) -> tuple[int, bool]:
        """How many jobs it cancelled, and whether it stopped at the limit, which tombstones count against too."""
        left, cancelled = limit, 0
        for lane in PRIORITIES:
            for spot in self.named_spots((queue, lane)) if queued else ():
                ids = self.list_at(spot)
                taken, ids[:] = ids[:left], ids[left:]
                left -= len(taken)
                jobs = [job_id for job_id in dict.fromkeys(taken) if self.stands_in((queue, lane), job_id)]
                for job_id in jobs:
                    self._cancel(now, job_id)
                cancelled += len(jobs)
            due = self.of_lane((queue, lane))[:left] if scheduled else []
            for job_id in due:
                del self.scheduled[job_id]
                self._cancel(now, job_id)
            left, cancelled = left - len(due), cancelled + len(due)
        return cancelled, left == 0

    def pause(self, queue: str, reason: str) -> str:
        self.queues.add(queue)
        self.paused[queue] = reason
        return "ok"

    def resume(self, queue: str) -> str:
        if self.paused.pop(queue, None) is None:
            return "not_paused"
        self.awake.add(queue)
        self.awake |= {f"{queue}:{kind}" for _, kind in self.names.get(queue, ()) if kind not in (ANY, SUSPECTS)}
        return "ok"

    def _is_empty(self, queue: str) -> bool:
        in_places = [self.of_queue(queue, place) for place in (self.scheduled, self.leases, self.dead, self.done)]
        in_lists = [self.list_at(spot) for lane in PRIORITIES for spot in self.named_spots((queue, lane))]
        return queue not in self.paused and not any(in_places) and not any(in_lists)

    def _forget(self, queue: str) -> None:
        self.queues.discard(queue)
        self.awake -= {queue} | {f"{queue}:{kind}" for _, kind in self.names.pop(queue, ())}
        self.draining.pop(queue, None)
        for lane in PRIORITIES:
            self.guards.pop((queue, lane), None)

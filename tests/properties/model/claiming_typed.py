"""What a claim promises whose claimer can begin only some jobs, or asks for lists set aside."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from queuey.protocol.models import PRIORITIES
from queuey.store.asides import ANY, SUSPECTS, Wanted
from tests.properties.model.claiming import SUSPECT, Claim, Room, Verdict
from tests.properties.model.contents import Ask, Lane, Spot

if TYPE_CHECKING:
    from tests.properties.model.model import Model

CHUNK, MAX_TURNED = 16, 32
FIRST_ALONE, DRAIN_AFTER, DRAIN_FOR, BESIDE_AFTER = 5_000, 60_000, 60_000, 600_000


@dataclass
class Known:
    """What a claim knows of a type in a lane."""

    room: Room
    named: bool
    taken: bool = False
    """Whether the claimer asked for the list of this type."""
    is_source: bool = False
    target: Spot | None = None
    """The list to which this claim has moved jobs of the type."""
    is_new: bool = False


class TypedClaim(Claim):
    def __init__(self, model: Model, now: int, ask: Ask, wanted: Wanted) -> None:
        super().__init__(model, now, ask)
        self.rooms: dict[str, Room] = {}
        for entry in wanted.room:
            self.rooms |= dict.fromkeys(entry.types, Room(entry.jobs))
        self.others = Room(inf)
        if wanted.room and not wanted.others:
            self.others.left = 0
            self.limit = min(self.limit, sum(entry.jobs for entry in wanted.room))
        self.refused = self.turned = self.set_aside = 0
        self.known: dict[Spot, Known] = {}
        self.sources: dict[Lane, list[Spot]] = {}
        self.room_at: dict[Spot, Room] = {}
        self.is_alone = False
        self._find_sources(wanted)

    def _find_sources(self, wanted: Wanted) -> None:
        for queue in self.queues:
            self.sources |= {(queue, priority): [(queue, priority, "")] for priority in PRIORITIES}
        for queue in self.queues:
            for lane, kind in wanted.take.get(queue, ()) if self.model.names.get(queue) else ():
                spot: Spot = (queue, lane, kind)  # type: ignore[assignment] # a priority is a str there
                known = self.known_of(spot[:2], kind)
                known.taken = True
                room = self.isolating if kind == SUSPECTS else known.room
                self.room_at[spot] = room
                if (kind == ANY or room.left > 0) and self.model.asides[spot]:
                    known.is_source = True
                    self.sources[spot[:2]].append(spot)

    def run(self) -> bool:
        self.is_alone = self.claim_alone()
        if self.is_alone:
            self.limit = len(self.taken)
        more = super().run()
        is_full = len(self.taken) >= self.limit
        more = is_full and not self.is_alone and (more or any(map(self._has_more, self.sources.values())))
        self.model._count(self.now, "set_aside", self.set_aside)
        return more

    def _has_more(self, sources: list[Spot]) -> bool:
        return any(spot[2] != ANY and self.room_at[spot].left > 0 and self.model.asides[spot] for spot in sources[1:])

    def known_of(self, lane: Lane, kind: str) -> Known:
        if (*lane, kind) not in self.known:
            self.known[*lane, kind] = Known(self.rooms.get(kind, self.others), self.model.is_named(lane, kind))
        return self.known[*lane, kind]

    # --- the order of the lists ------------------------------------------------------------------------------------

    def length(self, lane: Lane) -> int:
        return super().length(lane) + len(self.sources[lane]) - 1

    def take(self, lane: Lane, most: int, ready_before: int | None = None) -> int:
        """The list whose head was made first gives the next jobs, a chunk at a time."""
        taken, passed = 0, set[Spot]()
        while taken < most and (first := self._oldest(lane, passed)):
            before = len(self.model.list_at(first))
            got, stays = self.take_from(first, min(CHUNK, most - taken), ready_before)
            taken += got
            if stays or len(self.model.list_at(first)) == before:
                passed.add(first)
        return taken

    def _oldest(self, lane: Lane, passed: set[Spot]) -> Spot | None:
        able = [
            spot
            for spot in self.sources[lane]
            if spot not in passed and (spot[2] in ("", ANY) or self.room_at[spot].left > 0) and self.model.list_at(spot)
        ]
        # Of heads made at the same time the last comes first, and the lane is the first of all.
        return min(reversed(able), key=lambda spot: self.model.list_at(spot)[0][2:12], default=None)

    # --- whether a job may begin -----------------------------------------------------------------------------------

    def may_begin(self, spot: Spot, job_id: str) -> Verdict:
        lane, kind, job = spot[:2], spot[2], self.model.jobs[job_id]
        if kind == SUSPECTS:
            return self._of_suspects(spot, job_id)
        if kind not in ("", ANY):
            if self.room_at[spot].left <= 0:
                return "stays"
            return self.room_at[spot] if job.type == kind else "tombstone"
        known = self.known_of(lane, job.type)
        if kind == ANY:
            return self._from_rest(lane, known, job_id)
        has_more = known.is_source and bool(self.model.asides[*lane, job.type])
        is_first = not known.named or (known.taken and not known.target and not has_more)
        return known.room if is_first and known.room.left > 0 else self._refuse(lane, known, job_id)

    def _of_suspects(self, spot: Spot, job_id: str) -> Verdict:
        kind = self.model.jobs[job_id].type
        if self.room_at[spot].left <= 0:
            return "stays"
        known = self.known_of(spot[:2], kind)
        if known.room.left > 0:
            return known.room
        if self.turned >= MAX_TURNED:
            return "stays"
        self.turned += 1
        self._push(spot, job_id)
        return "moved"

    def _from_rest(self, lane: Lane, known: Known, job_id: str) -> Verdict:
        kind = self.model.jobs[job_id].type
        if not known.named:
            if kind in self.rooms and not known.is_new:
                known.is_new = self.model.add_name(lane, kind, self.model.most_names[0])
            if known.room.left > 0:
                return known.room
        if self.turned >= MAX_TURNED:
            return "stays"
        self.turned += 1
        self._move(lane, known, job_id)
        return "moved"

    def _refuse(self, lane: Lane, known: Known, job_id: str) -> Verdict:
        self.refused += 1
        if self._move(lane, known, job_id):
            self.set_aside += 1
        else:
            self._delay(job_id, self.refused)
        return "moved"

    def _move(self, lane: Lane, known: Known, job_id: str) -> bool:
        """To the tail of the list of its type. Returns False if nothing may be set aside yet."""
        if known.target is None:
            kind = self.model.jobs[job_id].type
            name = self.model.list_for(lane, kind, kind in self.rooms)
            if name is None:
                return False
            known.named, known.target = name == kind, (*lane, name)
            self.model.wake_type(lane[0], name)
        self._push(known.target, job_id)
        return True

    def _knows(self, kind: str) -> bool:
        return kind in self.rooms or self.others.left > 0

    # --- suspects of a worker without child processes --------------------------------------------------------------

    def claim_alone(self) -> bool:
        """A suspect, while the worker holds nothing else. Returns whether it gets nothing more."""
        if self._still_alone():
            return True
        if self.ask.isolates not in (None, -1) or self.limit < 1:
            return False
        for lane in PRIORITIES:
            for queue in self.queues:
                waited = self._waited((queue, lane, SUSPECTS))
                if waited is not None:
                    got, is_over = self._claim_from((queue, lane), waited)
                    if got or is_over:
                        return is_over
        return False

    def _still_alone(self) -> bool:
        job_id, _, until = self.model.alone.get(self.ask.worker, ("", "", 0))
        if self.now < until:
            self.due.append(until)
        elif job_id:
            del self.model.alone[self.ask.worker]
            job = self.model.jobs.get(job_id)
            if job and job.status == "running" and job.worker == self.ask.worker:
                job.mark = ""
        return self.now < until

    def _waited(self, spot: Spot) -> int | None:
        """For how long the first suspect has waited whose type the worker knows."""
        ids = self.model.asides[spot] if self.model.is_named(spot[:2], SUSPECTS) else []
        jobs = [self.model.jobs[job_id] for job_id in ids[:MAX_TURNED] if job_id in self.model.jobs]
        return next(
            (self.now - job.ready_at for job in jobs if job.status == "waiting" and self._knows(job.type)), None
        )

    def _claim_from(self, lane: Lane, waited: int) -> tuple[bool, bool]:
        """Returns whether a suspect was claimed, and whether the worker gets nothing else."""
        held = [job for job in map(self.model.jobs.__getitem__, self.model.leases) if job.worker == self.ask.worker]
        has_others = bool(held) or self.ask.isolates == -1
        self.runs_alone = not has_others
        self.runs_beside = has_others and waited >= BESIDE_AFTER and not any(job.crashes >= SUSPECT for job in held)
        got = (self.runs_alone or self.runs_beside) and self._claim_suspect(lane)
        may_drain = has_others and not got and self.ask.isolates != -1
        is_over = (got and self.runs_alone) or (may_drain and self._drains(lane[0], waited))
        self.runs_alone = self.runs_beside = False
        return got, is_over

    def _claim_suspect(self, lane: Lane) -> bool:
        spot = (*lane, SUSPECTS)
        self.room_at[spot] = Room(1)
        got, _ = self.take_from(spot, 1)
        self.room_at[spot] = self.isolating
        if got and self.runs_alone:
            crashes = self.model.jobs[self.taken[0]].crashes
            until = self.now + FIRST_ALONE * 2 ** max(0, crashes - SUSPECT)
            self.model.alone[self.ask.worker] = self.taken[0], lane[0], until
        return got > 0

    def _drains(self, queue: str, waited: int) -> bool:
        worker, until = self.model.draining.get(queue, ("", 0))
        is_of_another = worker != self.ask.worker and self.now < until
        if is_of_another or waited < DRAIN_AFTER:
            return False
        self.model.draining[queue] = self.ask.worker, self.now + DRAIN_FOR
        self.due.append(self.now + self.ask.defer)
        return True

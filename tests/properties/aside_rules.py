"""Rules of the state machine for lists set aside: claims by type and room, the chores of the lists, and purges."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from queuey.protocol.models import Priority
from queuey.store.asides import ANY, SUSPECTS, Room, Wanted
from tests.properties import agreement
from tests.properties import strategies as draw
from tests.properties.agreement import ClaimAnswer, Held
from tests.properties.invariants import check_claim
from tests.properties.model.contents import Ask
from tests.properties.model.model import Model
from tests.properties.single_jobs import SingleJobRules
from tests.properties.strategies import LEASE, MINUTE, SECOND, Spec


class AsideRules(SingleJobRules):
    def claim_on(self, shard: int, ask: Ask, twice: bool = False) -> list[Held]:
        """Claim. If that only tells of lists set aside, claim as a worker that takes every type does then."""
        _, model = self.on(shard)
        before, definitions = self.seen.contents[shard], self.seen.definitions
        is_resent = ask.claim_id in model.claims

        def expect() -> ClaimAnswer:
            claimed = model.claim(self.now, ask)
            jobs = agreement.handed_out(model, claimed.job_ids, definitions)
            return (
                jobs,
                claimed.due_in,
                claimed.more,
                claimed.repeated,
                None if claimed.told is None else [*claimed.told],
            )

        jobs, _, _, _, told = self.hold(lambda: agreement.send_claim(self.broker, shard, ask, self.now), expect)
        if told and ask.wanted is None:
            return self.claim_on(shard, ask.typed(told), twice)
        if twice and jobs:
            raw = self.read().raw
            again, *_ = self.hold(lambda: agreement.send_claim(self.broker, shard, ask, self.now), expect)
            assert again == jobs, "a claim that is sent again gets the same jobs"
            assert self.read().raw == raw, "a claim that is sent again changes nothing"
        if not is_resent:
            check_claim(ask, [before.jobs[job_id] for job_id, *_ in jobs], model.gate_is_open)
            for job_id, *_ in jobs:
                self.history.claimed(shard, job_id, before)
        held = [(job_id, token) for job_id, token, *_ in jobs]
        self.given += held
        return held

    @rule(
        shard=draw.shards, limits=draw.claim_limits, queues=draw.queue_lists, rooms=draw.rooms, others=st.booleans(),
        wanted_lists=draw.wanted_lists, worker=draw.workers, isolates=draw.isolates, starve=draw.starves,
        wait=draw.waits, twice=draw.sometimes,
    )  # fmt: skip
    def claim_typed(
        self, shard: int, limits: list[int], queues: tuple[str, ...], rooms: list[Room], others: bool,
        wanted_lists: str, worker: str, isolates: int | None, starve: int, wait: int, twice: bool,
    ) -> None:  # fmt: skip
        """A worker claims what it can begin, mostly from the lists of types that it knows and has room for."""
        self.now += wait
        self.history.latest = max(self.history.latest, self.now)
        shard, model = self.on(shard, lambda model: model.entries())
        for limit in limits:
            wanted = Wanted(room=rooms, others=others, take=_lists(model, rooms, others, wanted_lists, isolates))
            claim_id = self.earlier_or_new(self.claim_ids, None, "c")
            ask = Ask(claim_id, worker, LEASE, limit, queues, starve, 1, SECOND, isolates, wanted)
            self.claim_on(shard, ask, twice)
            self.the_store_shows_what_the_model_holds()

    @rule(
        shard=draw.shards, queue=draw.queues, lane=draw.lanes, kinds=st.lists(draw.types, min_size=2, max_size=6),
        known=draw.type_lists, room=st.integers(0, 2), isolates=draw.isolates, takes=draw.wanted_lists,
    )  # fmt: skip
    def a_worker_meets_what_it_does_not_know(
        self, shard: int, queue: str, lane: Priority, kinds: list[str], known: list[str], room: int,
        isolates: int | None, takes: str,
    ) -> None:  # fmt: skip
        """This also sees to it that there are lists set aside in most examples."""
        bodies = dict(zip(draw.TYPES, draw.BODIES, strict=True))
        specs = [Spec(None, None, queue, lane, 5, MINUTE, LEASE, 0, None, bodies[kind]) for kind in kinds]
        self.enqueue(shard=shard, specs=specs, full=False, twice=False)
        self.the_store_shows_what_the_model_holds()
        self.claim_typed(
            shard=shard, limits=[2, 1], queues=(queue,), rooms=[Room(room, known)], others=False, wanted_lists=takes,
            worker="v", isolates=isolates, starve=SECOND, wait=0, twice=False,
        )  # fmt: skip

    @precondition(lambda self: any(any(model.asides.values()) for model in self.models))
    @rule(shard=draw.shards, number=st.integers(0, 8), deleted=st.booleans(), again=st.none() | draw.specs)
    def a_job_set_aside_is_cancelled(self, shard: int, number: int, deleted: bool, again: Spec | None) -> None:
        """And its id is used again, while a tombstone stands in the list, from which a worker claims then."""
        shard, model = self.on(shard, lambda model: any(model.asides.values()))
        there = [job_id for ids in model.asides.values() for job_id in ids]
        job_id = there[number % len(there)]
        queue, lane, kind = next(spot for spot, ids in model.asides.items() if job_id in ids)
        self.hold(
            lambda: self.broker.jobs.cancel(shard, [job_id], now=self.now), lambda: model.cancel(self.now, [job_id])
        )
        if deleted:
            self.the_store_shows_what_the_model_holds()
            self.hold(
                lambda: self.broker.jobs.delete(shard, [job_id], now=self.now), lambda: model.delete(self.now, [job_id])
            )
        self.the_store_shows_what_the_model_holds()
        if again:
            reuse = self.ids[shard][::-1].index(job_id)
            here = replace(again, reuse=reuse, key=None, queue=queue, lane=lane, delay=0, run_in=None)
            self.enqueue(shard=shard, specs=[here], full=False, twice=False)
            self.the_store_shows_what_the_model_holds()
            wanted = Wanted(room=[Room(1, [kind])], others=False, take={queue: [(lane, kind)]})
            claim_id = self.earlier_or_new(self.claim_ids, None, "c")
            self.claim_on(shard, Ask(claim_id, "v", LEASE, 1, (queue,), MINUTE, 0, SECOND, 0, wanted))

    @precondition(lambda self: any(":" in marker for model in self.models for marker in model.awake))
    @rule(shard=draw.shards, number=st.integers(0, 5), limit=st.integers(1, 3), takes=st.booleans())
    def a_worker_wakes_for_a_type(self, shard: int, number: int, limit: int, takes: bool) -> None:
        """It takes the marker, claims, and says which marker it took."""
        shard, model = self.on(shard, lambda model: any(":" in marker for marker in model.awake))
        markers = sorted(marker for marker in model.awake if ":" in marker)
        queue, _, kind = markers[number % len(markers)].partition(":")
        self.take_marker(shard, f"{queue}:{kind}")
        take = {queue: [(lane, name) for lane, name in model.names.get(queue, ()) if name == kind]} if takes else {}
        claim_id = self.earlier_or_new(self.claim_ids, None, "c")
        wanted = Wanted(take=take, woken=[kind])
        self.claim_on(shard, Ask(claim_id, "w", LEASE, limit, (queue,), MINUTE, 1, SECOND, 1, wanted))

    @precondition(lambda self: any(model.names for model in self.models))
    @rule(shard=draw.shards, queue=draw.queues, every=st.booleans())
    def tidy(self, shard: int, queue: str, every: bool) -> None:
        shard, model = self.on(shard, lambda model: model.names)
        queues = self.order_of_queues(shard) if every else [queue]
        name = "" if every else queue
        self.hold(lambda: self.broker.maintenance.tidy_asides(shard, name), lambda: model.tidy(queues))

    @precondition(lambda self: any(model.names for model in self.models))
    @rule(shard=draw.shards, number=st.integers(0, 5))
    def names_are_lost(self, shard: int, number: int) -> None:
        """A replica then names all lists that it finds."""
        shard, model = self.on(shard, lambda model: model.names)
        queue = sorted(model.names)[number % len(model.names)]
        model.tidy([queue])
        self.run(self.broker.maintenance.tidy_asides(shard, queue))
        self.run(self.client.hdel(self.broker.shards.keys[shard].queue(queue), "aside"))
        model.names.pop(queue, None)
        lists = [spot for spot, ids in model.asides.items() if ids]
        self.hold(lambda: self.broker.maintenance.name_asides(shard, lists), lambda: model.name_again(lists))

    @precondition(lambda self: any(any(model.asides.values()) for model in self.models))
    @rule(
        shard=draw.shards, limit=draw.limits, ttl=st.sampled_from([0, 1, MINUTE]), known=draw.type_lists,
        wait=draw.waits,
    )  # fmt: skip
    def bury_unknown(self, shard: int, limit: int, ttl: int, known: list[str], wait: int) -> None:
        self.now += wait
        self.history.latest = max(self.history.latest, self.now)
        shard, model = self.on(shard, lambda model: any(model.asides.values()))
        lists = [
            (queue, lane, kind, 0 if kind in known else ttl)
            for queue in sorted(model.names)
            for lane, kind in model.names[queue]
            if kind != SUSPECTS
        ]

        async def call() -> tuple[list[str], list[str], bool]:
            buried = await self.broker.maintenance.bury_unknown(shard, limit, lists, known, now=self.now)
            return buried.dead, buried.expired, buried.more

        self.hold(call, lambda: model.bury_unknown(self.now, limit, lists, known))

    @precondition(lambda self: any(any(model.asides.values()) for model in self.models))
    @rule(shard=draw.shards, queue=draw.queues, queued=draw.often, scheduled=st.booleans(), limit=draw.few)
    def purge(self, shard: int, queue: str, queued: bool, scheduled: bool, limit: int) -> None:
        shard, model = self.on(shard, lambda model: any(model.asides.values()))

        async def call() -> tuple[int, bool]:
            purged = await self.broker.queues.purge(
                shard, queue, queued=queued, scheduled=scheduled, limit=limit, now=self.now
            )
            return purged.cancelled, purged.more

        self.hold(call, lambda: model.purge(self.now, queue, queued, scheduled, limit))

    @precondition(lambda self: not all(model.gate_is_open for model in self.models))
    @rule(shard=draw.shards)
    def the_gate_opens(self, shard: int) -> None:
        shard, _ = self.on(shard, lambda model: not model.gate_is_open)
        self.open_gate(shard)

    def open_gate(self, shard: int) -> None:
        self.run(self.client.hset(self.broker.shards.keys[shard].meta, "features", "aside"))
        self.models[shard].features.add("aside")

    def take_marker(self, shard: int, marker: str) -> None:
        awake = self.models[shard].awake
        taken = self.run(self.client.zpopmin(self.broker.shards.keys[shard].wake(marker)))
        assert bool(taken) == (marker in awake), f"a replica that waits for {marker} finds {taken}"
        awake.discard(marker)

    def enqueue(self, shard: int, specs: list[Spec], full: bool, twice: bool) -> None:
        raise NotImplementedError

    def the_store_shows_what_the_model_holds(self) -> None:
        raise NotImplementedError


def _lists(
    model: Model, rooms: list[Room], others: bool, wanted_lists: str, isolates: int | None
) -> dict[str, list[tuple[Priority, str]]]:
    """The lists from which a worker claims: those of its types, also `*` or none."""
    full = {kind for room in rooms if not room.jobs for kind in room.types}
    known = {kind for room in rooms for kind in room.types} if rooms and not others else set(draw.TYPES)
    able = known - full | ({SUSPECTS} if (isolates or 0) > 0 else set()) | ({ANY} if wanted_lists == "all" else set())
    return {
        queue: [name for name in names if name[1] in able]
        for queue, names in model.names.items()
        if wanted_lists != "none"
    }

"""The state machine: it drives the Broker at random, and holds every answer and all that the store then holds against
the model (model.py) and against the invariants of the design (invariants.py).

The machine owns the clock: every call is given its time, also one before the last. Only the TTLs of dedupe keys, of
the records of claims and of the counters by the minute run by the store's own clock. They are ten minutes or more, so
none lapses during a run; rules delete the first two to stand for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from queuey.protocol.models import Priority
from queuey.protocol.records import UNIQUE, encode_key
from queuey.store.broker.calls import SetAside
from queuey.store.broker.leases import Failure, KeptValue
from queuey.store.replies import Caps, Place
from tests.properties import agreement
from tests.properties import strategies as draw
from tests.properties.agreement import Held
from tests.properties.aside_rules import AsideRules
from tests.properties.driver import UNKNOWN, one_lease_each, without_order
from tests.properties.invariants import check_contents
from tests.properties.model.contents import Ask
from tests.properties.model.model import Model
from tests.properties.strategies import HOUR, LEASE, MINUTE, QUEUES, SECOND, Spec


def _any(where: Callable[[Model], object]) -> Callable[[Any], bool]:
    return lambda machine: any(where(model) for model in machine.models)


class BrokerMachine(AsideRules):
    def teardown(self) -> None:
        try:
            if self.sound:
                self.drain()
        finally:
            self.run(self.client.aclose())
            self.runner.close()

    # --- a job's way -------------------------------------------------------------------------------------------

    @initialize(specs=st.lists(draw.specs, min_size=2, max_size=8), gate=draw.often)
    def begin(self, specs: list[Spec], gate: bool) -> None:
        for shard in range(len(self.models)):
            if gate:
                self.open_gate(shard)
            self.enqueue(shard=shard, specs=specs, full=False, twice=False)

    @rule(shard=draw.shards, specs=draw.spec_lists, full=draw.rarely, twice=st.booleans())
    def enqueue(self, shard: int, specs: list[Spec], full: bool, twice: bool) -> None:
        shard, model = self.on(shard)
        there, standing = set(model.jobs), model.entries()
        pairs = [self.new_job(shard, spec) for spec in specs]
        new, requests = [job for job, _ in pairs], [request for _, request in pairs]
        # An id that stands there twice as two jobs may be refused as the one and then taken as the other.
        twice = twice and len(set(requests)) == len({request.id for request in requests})
        answers = self.hold(
            lambda: self.broker.jobs.enqueue(shard, new, full=full, now=self.now),
            lambda: model.enqueue(self.now, full, requests),
            twice,
        )
        for job, answer in zip(new, answers, strict=True):
            if answer == "new" and job.id not in there:
                there.add(job.id)
                self.history.acknowledged(job.id, at_the_tail=job.id not in {*model.scheduled, *standing})

    @precondition(_any(lambda model: model.entries() - model.jobs.keys()))
    @rule(shard=draw.shards, spec=draw.specs)
    def an_id_is_used_again(self, shard: int, spec: Spec) -> None:
        """Its job was cancelled in a lane, and its record trimmed; what stands in the lane is a tombstone."""
        shard, model = self.on(shard, lambda model: model.entries() - model.jobs.keys())
        known, gone = self.ids[shard], model.entries() - model.jobs.keys()
        reuse = next(i for i, job_id in enumerate(reversed(known)) if job_id in gone)
        self.enqueue(shard=shard, specs=[replace(spec, reuse=reuse)], full=False, twice=False)

    def enqueue_with_key(self, shard: int, spec: Spec, key: str) -> None:
        which = [encode_key(name) for name in self.keys_of(shard)].index(key.removeprefix(UNIQUE))
        spec = replace(spec, key=which, reuse=None)
        if key.startswith(UNIQUE) and not spec.do:
            spec = replace(spec, do="return", until="f")
        self.enqueue(shard=shard, specs=[spec], full=False, twice=False)
        self.the_store_shows_what_the_model_holds()

    @rule(
        shard=draw.shards, limit=st.integers(1, 4), queues=draw.queue_lists, starve=draw.starves,
        suspects=st.integers(0, 1), isolates=draw.isolates, again=draw.again, lease=draw.leases, wait=draw.waits,
        twice=st.booleans(),
    )  # fmt: skip
    def claim(
        self, shard: int, limit: int, queues: tuple[str, ...], starve: int, suspects: int, isolates: int | None,
        again: int | None, lease: int, wait: int, twice: bool,
    ) -> None:  # fmt: skip
        self.pass_time(wait)
        claim_id = self.earlier_or_new(self.claim_ids, again, "c")
        ask = Ask(claim_id, f"w{len(self.claim_ids)}", lease, limit, queues, starve, suspects, SECOND, isolates)
        self.claim_on(shard % len(self.models), ask, twice)

    @rule(shard=draw.shards, limits=draw.claim_limits, starve=draw.starves, wait=draw.waits)
    def claim_in_turn(self, shard: int, limits: list[int], starve: int, wait: int) -> None:
        """A worker with few free slots. This also sees to it that much runs in most examples."""
        self.pass_time(wait)
        shard, _ = self.on(shard, lambda model: model.entries())
        for limit in limits:
            claim_id = self.earlier_or_new(self.claim_ids, None, "c")
            self.claim_on(shard, Ask(claim_id, "w", LEASE, limit, QUEUES, starve, 1, SECOND))
            self.the_store_shows_what_the_model_holds()

    @precondition(_any(lambda model: model.entries()))
    @rule(shard=draw.shards, limit=st.integers(1, 3), delays=draw.delay_lists, wait=draw.lease_waits)
    def a_worker_is_lost(self, shard: int, limit: int, delays: list[int], wait: int) -> None:
        self.claim_in_turn(shard=shard, limits=[limit], starve=HOUR, wait=MINUTE)
        self.reap(shard=shard, limit=100, delays=delays, wait=wait)

    @precondition(_any(lambda model: model.leases))
    @rule(shard=draw.shards, numbers=draw.numbers, lease=draw.leases, twice=st.booleans())
    def extend(self, shard: int, numbers: list[int], lease: int, twice: bool) -> None:
        shard, model = self.on(shard, lambda model: model.leases)
        held = self.pick_held(model, numbers)
        self.hold(
            lambda: self.broker.leases.extend(shard, lease, held, now=self.now),
            lambda: model.extend(self.now, lease, held),
            twice,
        )

    @precondition(_any(lambda model: model.leases))
    @rule(shard=draw.shards, numbers=draw.numbers, value=draw.results, twice=st.booleans())
    def checkpoint(self, shard: int, numbers: list[int], value: str, twice: bool) -> None:
        """Its number is drawn with the lease; one in four has none."""
        shard, model = self.on(shard, lambda model: model.leases)
        picked = zip(self.pick_held(model, numbers), numbers, strict=True)
        items: list[KeptValue] = [(*held, value, drawn % 4) if drawn % 4 else (*held, value) for held, drawn in picked]
        self.hold(
            lambda: self.broker.leases.checkpoint(shard, items, now=self.now),
            lambda: model.checkpoint(self.now, items),
            twice,
        )

    @precondition(_any(lambda model: model.leases))
    @rule(shard=draw.shards, numbers=draw.numbers, result=draw.results, twice=st.booleans())
    def complete(self, shard: int, numbers: list[int], result: str, twice: bool) -> None:
        shard, model = self.on(shard, lambda model: model.leases)
        self.complete_on(shard, self.pick_held(model, numbers), result, twice)

    def complete_on(self, shard: int, held: list[Held], result: str = "", twice: bool = False) -> None:
        _, model = self.on(shard)
        results = [(*item, result) for item in held]
        self.hold(
            lambda: self.broker.leases.complete(shard, results, now=self.now),
            lambda: model.complete(self.now, results),
            twice and one_lease_each(held),
        )

    @precondition(_any(lambda model: model.leases))
    @rule(shard=draw.shards, failures=draw.failures, twice=st.booleans())
    def fail(self, shard: int, failures: list[tuple[int, int, str]], twice: bool) -> None:
        shard, model = self.on(shard, lambda model: model.leases)
        held = self.pick_held(model, [number for number, _, _ in failures])
        items = [(*item, delay, end) for item, (_, delay, end) in zip(held, failures, strict=True)]
        with_errors = [_failure(model, *item) for item in items]
        self.hold(
            lambda: self.broker.leases.fail(shard, with_errors, now=self.now),
            lambda: model.fail(self.now, items),
            twice and one_lease_each(held),
        )

    @precondition(_any(lambda model: model.leases))
    @rule(shard=draw.shards, numbers=draw.numbers, unknown=draw.type_lists, twice=st.booleans())
    def release(self, shard: int, numbers: list[int], unknown: list[str], twice: bool) -> None:
        """Its worker does not know the types in `unknown`."""
        shard, model = self.on(shard, lambda model: model.leases)
        held = self.pick_held(model, numbers)
        types = [model.jobs[job_id].type if job_id in model.jobs else "t" for job_id, _ in held]
        items = [(*item, kind if kind in unknown else "") for item, kind in zip(held, types, strict=True)]
        self.hold(
            lambda: self.broker.leases.release(shard, [_to_release(*item) for item in items], now=self.now),
            lambda: model.release(self.now, items),
            twice and one_lease_each(held),
        )

    @rule(shard=draw.shards, numbers=draw.few_numbers, twice=st.booleans())
    def cancel(self, shard: int, numbers: list[int], twice: bool) -> None:
        shard, model = self.on(shard, lambda model: model.jobs)
        job_ids = self.pick_ids(shard, numbers, mostly=[*(model.leases or model.jobs)])
        self.hold(
            lambda: self.broker.jobs.cancel(shard, job_ids, now=self.now),
            lambda: model.cancel(self.now, job_ids),
            twice,
        )

    @precondition(_any(lambda model: model.dead))
    @rule(
        shard=draw.shards, numbers=draw.numbers, rival=st.none() | draw.specs, again=draw.again, wait=draw.waits,
        twice=st.booleans(),
    )  # fmt: skip
    def replay(
        self, shard: int, numbers: list[int], rival: Spec | None, again: int | None, wait: int, twice: bool
    ) -> None:
        """A rival may have taken the dedupe key of one that died."""
        self.pass_time(wait)
        shard, model = self.on(shard, lambda model: model.dead)
        keys = [model.jobs[job_id].dedupe for job_id in model.dead if model.jobs[job_id].dedupe]
        if rival and keys:
            self.enqueue_with_key(shard, rival, keys[-1])
        replay_id = self.earlier_or_new(self.replay_ids, again, "y")
        job_ids = self.pick_ids(shard, numbers, mostly=[*model.dead])
        self.hold(
            lambda: self.broker.dlq.replay(shard, replay_id, job_ids, now=self.now),
            lambda: model.replay(self.now, replay_id, job_ids),
            twice,
        )

    # --- maintenance -------------------------------------------------------------------------------------------

    @precondition(_any(lambda model: model.leases))
    @rule(shard=draw.shards, limit=draw.limits, delays=draw.delay_lists, wait=draw.lease_waits)
    def reap(self, shard: int, limit: int, delays: list[int], wait: int) -> None:
        self.pass_time(wait)
        shard, _ = self.on(shard, lambda model: model.leases)
        self.reap_on(shard, limit, delays)

    def reap_on(self, shard: int, limit: int, delays: list[int]) -> None:
        _, model = self.on(shard)
        order = self.order_of_queues(shard)

        async def call() -> tuple[list[tuple[str, str]], bool]:
            reaped = await self.broker.maintenance.reap(shard, limit, delays, by_ms=by_ms, now=self.now)
            return reaped.outcomes, reaped.more

        by_ms = self.now - 1
        self.hold(call, lambda: ([], False))  # what comes late changes nothing, as the next call shows
        by_ms = self.now
        self.hold(call, lambda: model.reap(self.now, limit, delays, order))

    @precondition(_any(lambda model: model.scheduled))
    @rule(shard=draw.shards, limit=draw.limits, wait=draw.waits)
    def promote(self, shard: int, limit: int, wait: int) -> None:
        self.pass_time(wait)
        shard, model = self.on(shard, lambda model: model.scheduled)

        async def call() -> tuple[int, int, int, bool]:
            promoted = await self.broker.maintenance.promote(shard, limit, now=self.now)
            return promoted.count, promoted.due_in_ms, promoted.tick_in_ms, promoted.ticks_wait

        self.hold(call, lambda: model.promote(self.now, limit))

    @precondition(_any(lambda model: model.queues))
    @rule(shard=draw.shards, limit=draw.limits, caps=draw.caps, wait=draw.waits)
    def trim(self, shard: int, limit: int, caps: Caps, wait: int) -> None:
        self.pass_time(wait)
        shard, _ = self.on(shard, lambda model: model.dead or model.done)
        self.trim_on(shard, limit, caps)

    def trim_on(self, shard: int, limit: int, caps: Caps) -> None:
        _, model = self.on(shard)
        order, sizes = self.order_of_queues(shard), self.seen.sizes

        async def call() -> tuple[int, int, int, bool]:
            trimmed = await self.broker.maintenance.trim(shard, limit, caps, now=self.now)
            return trimmed.dead, trimmed.finished, trimmed.queues, trimmed.more

        self.hold(call, lambda: model.trim(self.now, limit, caps, order, sizes))

    @precondition(lambda self: not any(model.paused for model in self.models))
    @rule(shard=draw.shards, queue=draw.queues, reason=st.sampled_from(["full", "by hand"]), twice=st.booleans())
    def pause(self, shard: int, queue: str, reason: str, twice: bool) -> None:
        shard, model = self.on(shard)
        self.hold(lambda: self.broker.queues.pause(shard, queue, reason), lambda: model.pause(queue, reason), twice)

    @precondition(_any(lambda model: model.paused))
    @rule(shard=draw.shards, queue=draw.queues)
    def resume(self, shard: int, queue: str) -> None:
        shard, model = self.on(shard, lambda model: model.paused)
        self.hold(lambda: self.broker.queues.resume(shard, queue), lambda: model.resume(queue))

    # --- what happens by itself ----------------------------------------------------------------------------------

    @rule(step=draw.ticks)
    def pass_time(self, step: int) -> None:
        self.now += step
        self.history.latest = max(self.history.latest, self.now)

    @rule(shard=draw.shards, queue=draw.queues)
    def a_replica_wakes(self, shard: int, queue: str) -> None:
        shard, _ = self.on(shard, lambda model: queue in model.awake)
        self.take_marker(shard, queue)

    @precondition(_any(lambda model: model.dedupe))
    @rule(number=st.integers(0, 5), spec=st.none() | draw.specs)
    def a_dedupe_key_lapses(self, number: int, spec: Spec | None) -> None:
        """And another job may take it, before the one that held it has ended."""
        held = [(shard, key) for shard, model in enumerate(self.models) for key in sorted(model.dedupe)]
        shard, key = held[number % len(held)]
        self.run(self.client.delete(self.broker.shards.keys[shard].dedupe(key)))
        del self.models[shard].dedupe[key]
        self.history.lapsed.add(key)
        if spec:
            self.the_store_shows_what_the_model_holds()
            self.enqueue_with_key(shard, spec, key)

    @precondition(_any(lambda model: model.claims))
    @rule(number=st.integers(0, 5))
    def the_record_of_a_claim_lapses(self, number: int) -> None:
        kept = [(shard, claim_id) for shard, model in enumerate(self.models) for claim_id in sorted(model.claims)]
        shard, claim_id = kept[number % len(kept)]
        self.run(self.client.delete(self.broker.shards.keys[shard].claim(claim_id)))
        del self.models[shard].claims[claim_id]

    # --- looking -----------------------------------------------------------------------------------------------

    @rule(
        shard=draw.shards, place=draw.places, queue=draw.queues, all_queues=st.booleans(), lane=draw.lanes,
        start=st.integers(0, 2), count=st.sampled_from([1, 2, 1000]), kind=draw.types,
    )  # fmt: skip
    def look(
        self, shard: int, place: Place, queue: str, all_queues: bool, lane: Priority, start: int, count: int, kind: str
    ) -> None:
        shard, model = self.on(shard)
        aside = kind if all_queues and place == "ready" else ""
        queue = "" if all_queues and place not in ("ready", "scheduled") else queue
        found = self.run(self.broker.jobs.list_by_status(shard, place, queue, lane, start, count, aside))
        wanted = agreement.listed(model, place, queue, lane, start, count, aside)
        assert found == wanted, f"list tells {found}, the model {wanted}"
        self.look_at_all(shard)

    def look_at_all(self, shard: int) -> None:
        _, model = self.on(shard)
        self.run(agreement.check_get(self.broker, shard, model, UNKNOWN))
        self.run(agreement.check_stats(self.broker, shard, model, self.seen, self.now))

    @invariant()
    def the_store_shows_what_the_model_holds(self) -> None:
        self.sound = False
        before, self.seen = self.seen, self.read()
        if self.trace is not None:
            self.trace.append(without_order(self.seen.raw))
        for shard, model in enumerate(self.models):
            shown = self.seen.contents[shard]
            for job_id in model.followed:
                self.history.acknowledged(job_id, at_the_tail=False)
            model.followed.clear()
            agreement.check_contents_agree(shown, model)
            check_contents(shown, self.history.lapsed, self.history.reused)
            self.history.step(shard, before.contents[shard], shown)
        self.history.all_shards(self.seen.contents)
        self.sound = True

    def drain(self) -> None:
        """All ends within two leases (invariant 9), and once it is trimmed nothing is left (invariant 8)."""
        self.now = self.history.latest
        for shard, model in enumerate(self.models):
            for queue in sorted(model.paused):
                self.resume(shard=shard, queue=queue)
        for _ in range(4 + max(len(model.jobs) for model in self.models)):
            if any(model.scheduled or model.leases or model.entries() for model in self.models):
                self.run_all_that_is_due()
        for shard in range(len(self.models)):
            self.look_at_all(shard)
        assert not any(job.status in ("waiting", "running") for model in self.models for job in model.jobs.values())
        self.pass_time(25 * HOUR)
        for _ in range(2):
            for shard in range(len(self.models)):
                self.trim_on(shard, 1000, Caps(0, 0, 0, 0, 0, 0))
            self.the_store_shows_what_the_model_holds()
        left = {name.split(":")[2] for name in self.seen.raw}
        assert left <= {"stats", "dedupe", "batch", "claim", "meta"}, f"left behind: {left}"

    def run_all_that_is_due(self) -> None:
        """One round of a healthy replica that completes what it claims: one suspect a shard, and all others."""
        self.pass_time(LEASE)
        for shard in range(len(self.models)):
            self.reap_on(shard, 100, [0])
        self.the_store_shows_what_the_model_holds()
        claim_id = self.earlier_or_new(self.claim_ids, None, "c")
        ask = Ask(claim_id, "healthy", LEASE, 100, QUEUES, HOUR, 1, SECOND, isolates=1)
        held = [self.claim_on(shard, ask) for shard in range(len(self.models))]
        self.the_store_shows_what_the_model_holds()
        for shard, own in enumerate(held):
            self.complete_on(shard, own)
        self.the_store_shows_what_the_model_holds()


def _to_release(job_id: str, token: str, unknown: str) -> Held | SetAside:
    return (job_id, token, None, unknown) if unknown else (job_id, token)


def _failure(model: Model, job_id: str, token: str, delay: int, end: str) -> Failure:
    failure: Failure = (job_id, token, _error_of(model, job_id), delay, end == "dead")
    return (*failure[:5], True) if end == "snooze" else failure


def _error_of(model: Model, job_id: str) -> str:
    attempt = model.jobs[job_id].attempts + 1 if job_id in model.jobs else 1
    return f'{{"attempt":{attempt},"kind":"error","message":"no \\u00e4"}}'

"""The state machine with rules for schedules: replicas that read them, and fire from what they have read, also when it
is old, several times, and two of them. Jobs end in between by the other rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from queuey.protocol import ids
from queuey.protocol.records import NewJob
from queuey.store.broker.schedules import ANY, Firing, Kind, NewSchedule, Overlap, Pausing, Refused
from tests.properties import strategies as draw
from tests.properties.groups import GroupMachine
from tests.properties.model import schedules as promised
from tests.properties.model.contents import Planned, Request
from tests.properties.strategies import MINUTE, SECOND, Spec

View = tuple[int, str, Planned]
"""What a replica has read: shard, name, schedule."""


@dataclass(frozen=True)
class Ask:
    """A firing to make from a view."""

    view: int | None
    """So many views ago; None = the schedule as it is now."""
    which: int
    kind: Kind
    overlap: Overlap
    jump: int
    step: int
    later: int
    """By how much the next tick is due later than it comes."""
    job: str
    """`made`, `refused` or `none`."""
    spec: Spec
    again: int | None


delays = st.sampled_from([0, 0, 0, SECOND, MINUTE, -SECOND])
asks = st.builds(
    Ask,
    view=st.sampled_from([None, None, None, 0, 1, 3]),
    which=st.integers(0, 1),
    kind=st.sampled_from(["tick", "tick", "tick", "pending", "trigger", "backfill", "move"]),
    overlap=st.sampled_from(["skip", "queue_one", "queue_one", "allow", "cancel_previous"]),
    jump=st.sampled_from([0, 0, 0, MINUTE, -1]),
    step=st.sampled_from([SECOND, MINUTE, MINUTE, MINUTE, 0, -1]),
    later=delays,
    job=st.sampled_from([*["made"] * 6, "refused", "none"]),
    spec=draw.specs,
    again=draw.again,
)
marks = st.sampled_from([ANY, ANY, "current", "current", "", "other.1"])
nexts = st.sampled_from([-MINUTE, 0, SECOND, MINUTE, None])
specs = st.sampled_from(['{"cron":"a"}', '{"cron":"b"}', '{"cron":"c",\n"d":1}'])
ends = st.sampled_from(["nothing", "nothing", "claim", "complete", "complete", "retry", "dead"])
"""What happens to the jobs between two ticks."""
pauses = st.sampled_from(["", '{"reason":"x"}', '{"reason":"y"}'])


def _planned(machine: Any) -> bool:
    return any(model.schedules for model in machine.models)


class ScheduleMachine(GroupMachine):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.views: list[View] = []
        self.fired: set[str] = set()
        """The ids of all jobs that were answered `fired`."""
        self.triggers: list[str] = []
        self.uids = 0

    def open_gate(self, shard: int) -> None:
        self.run(self.client.hset(self.broker.shards.keys[shard].meta, "features", "aside schedules"))
        self.models[shard].features |= {"aside", "schedules"}
        for which in (0, 1):
            self.put_schedule(shard=shard, which=which, spec='{"cron":"a"}', mark=ANY, next_in=SECOND, later=0, times=1)

    def names_of(self, shard: int) -> list[str]:
        """The names of the schedules of the shard."""
        return [name for name in ascii_lowercase if self.broker.shards.of_schedule(name) == shard][:2]

    def mark_for(self, shard: int, name: str, mark: str) -> str:
        found = self.models[shard].schedules.get(name)
        return (found.mark if found else "") if mark == "current" else mark

    def look_back(self, shard: int) -> None:
        """A replica reads the schedules of the shard."""
        model = self.models[shard]
        self.views += [(shard, name, promised.snapshot(plan)) for name, plan in model.schedules.items()]

    @rule(
        shard=draw.shards, which=st.integers(0, 1), spec=specs, mark=marks, next_in=nexts, later=delays,
        times=st.integers(1, 2),
    )  # fmt: skip
    def put_schedule(
        self, shard: int, which: int, spec: str, mark: str, next_in: int | None, later: int, times: int
    ) -> None:
        shard, model = self.on(shard)
        name = self.names_of(shard)[which]
        self.uids += 1
        next, due = self._next(next_in, later)
        item = NewSchedule(name, f"U{self.uids}", self.mark_for(shard, name, mark), self.now - 5, next, due, spec)

        async def call() -> tuple[str, str]:
            (answer,) = await self.broker.schedules.put_schedules(shard, [item], now=self.now)
            return answer

        for _ in range(times):
            self.hold(call, lambda: promised.put(model, self.now, item))

    @precondition(_planned)
    @rule(shard=draw.shards, which=st.integers(0, 1), mark=marks, times=st.integers(1, 2))
    def delete_schedule(self, shard: int, which: int, mark: str, times: int) -> None:
        shard, model = self.on(shard, lambda model: model.schedules)
        self.look_back(shard)
        name = self.names_of(shard)[which]
        mark = self.mark_for(shard, name, mark)
        for _ in range(times):
            self.hold(
                lambda: self.broker.schedules.delete_schedules(shard, [(name, mark)]),
                lambda: [promised.delete(model, name, mark)],
            )

    @precondition(_planned)
    @rule(
        shard=draw.shards, which=st.integers(0, 1), pause=pauses, mark=marks, next_in=nexts, later=delays,
        times=st.integers(1, 2),
    )  # fmt: skip
    def pause_schedule(
        self, shard: int, which: int, pause: str, mark: str, next_in: int | None, later: int, times: int
    ) -> None:
        shard, model = self.on(shard, lambda model: model.schedules)
        self.look_back(shard)
        name = self.names_of(shard)[which]
        item = Pausing(name, self.mark_for(shard, name, mark), pause, *self._next(next_in, later))
        for _ in range(times):
            self.hold(
                lambda: self.broker.schedules.set_paused(shard, [item], now=self.now),
                lambda: [promised.set_paused(model, self.now, item)],
            )

    def _next(self, next_in: int | None, later: int) -> tuple[int, int]:
        """A next tick, and when it is due."""
        return (-1, -1) if next_in is None else (self.now + next_in, self.now + next_in + later)

    @precondition(_planned)
    @rule(
        shard=draw.shards, skip=st.integers(0, 1), limit=st.integers(1, 2), after=st.integers(0, 2), wait=draw.waits
    )  # fmt: skip
    def a_replica_looks(self, shard: int, skip: int, limit: int, after: int, wait: int) -> None:
        self.pass_time(wait)
        shard, model = self.on(shard, lambda model: model.schedules)
        self.look_back(shard)
        behind = ["", *self.names_of(shard)][after]

        async def call() -> promised.Due:
            found = await self.broker.schedules.due_schedules(shard, limit, behind, skip=skip, now=self.now)
            due, pending = ([plan.name for plan in plans] for plans in (found.due, found.pending))
            return promised.Due(found.due_in_ms, found.more, due, pending, found.after, found.ticks_wait)

        self.hold(call, lambda: promised.due(model, self.now, skip, limit, behind))

    @precondition(_planned)
    @rule(
        shard=draw.shards, wanted=st.lists(asks, min_size=1, max_size=3), full=draw.rarely, replicas=st.integers(1, 2),
        in_time=draw.often,
    )  # fmt: skip
    def replicas_fire(self, shard: int, wanted: list[Ask], full: bool, replicas: int, in_time: bool) -> None:
        shard, model = self.on(shard, lambda model: model.schedules)
        self.look_back(shard)
        if in_time:
            nexts = [plan.due for plan in model.schedules.values() if plan.due <= self.now + 10 * MINUTE]
            self.pass_time(max([0, *(next - self.now for next in nexts)]))
        items = [self._firing(shard, ask) for ask in wanted]
        standing, before = model.entries(), {name: plan.next for name, plan in model.schedules.items()}

        async def call() -> tuple[list[str], list[str]]:
            fired = await self.broker.schedules.fire(shard, [item for item, _ in items], full=full, now=self.now)
            return fired.answers, fired.cancelled

        for _ in range(replicas):
            answers, _ = self.hold(call, lambda: promised.fire(model, self.now, full, items))
            for (item, _), answer in zip(items, answers, strict=True):
                if answer == "fired" and isinstance(item.job, NewJob):
                    assert item.job.id not in self.fired, f"15: {item.job.id} of {item.name} was fired twice"
                    self.fired.add(item.job.id)
                    self.ids[shard] = [*dict.fromkeys([*self.ids[shard], item.job.id])]
                    at_the_tail = item.job.id not in {*model.scheduled, *standing}
                    self.history.acknowledged(item.job.id, at_the_tail=at_the_tail)
            self.the_store_shows_what_the_model_holds()
        if not any(item.kind == "move" for item, _ in items):
            self._check_rising(shard, before)

    @precondition(lambda self: any("schedules" in model.features for model in self.models))
    @rule(
        shard=draw.shards, which=st.integers(0, 1), days=st.lists(st.tuples(asks, ends), min_size=3, max_size=5),
        full=st.integers(0, 9), replicas=st.integers(1, 2),
    )  # fmt: skip
    def a_schedule_goes_on(self, shard: int, which: int, days: list[tuple[Ask, str]], full: int, replicas: int) -> None:
        """It fires several times, and jobs end in between. This sees to it that most examples have all of that."""
        shard, model = self.on(shard, lambda model: "schedules" in model.features)
        name = self.names_of(shard)[which]
        for day, (ask, end) in enumerate(days):
            plan = model.schedules.get(name)
            if plan is None or plan.next < 0:
                spec = '{"cron":"b"}' if plan and plan.spec != '{"cron":"b"}' else '{"cron":"a"}'
                self.put_schedule(shard=shard, which=which, spec=spec, mark=ANY, next_in=0, later=0, times=1)
            if plan and plan.pause:
                self.pause_schedule(shard=shard, which=which, pause="", mark=ANY, next_in=0, later=0, times=1)
            self.the_store_shows_what_the_model_holds()
            asked = [replace(ask, which=which)]
            if model.schedules[name].pending:
                asked.insert(0, replace(asked[0], view=None, kind="pending"))
            self.replicas_fire(shard=shard, wanted=asked, full=day == full, replicas=replicas, in_time=True)
            self._end_jobs(shard, end)
            self.a_replica_looks(shard=shard, skip=0, limit=2, after=0, wait=0)

    def _end_jobs(self, shard: int, end: str) -> None:
        """A worker claims all jobs, and they end so."""
        if end == "nothing":
            return
        self.claim_in_turn(shard=shard, limits=[3, 3], starve=MINUTE, wait=0)
        _, model = self.on(shard)
        held = [(job_id, job.token) for job_id, job in model.jobs.items() if job.token]
        if end == "complete":
            self.complete_on(shard, held)
        elif end != "claim" and held:
            failures = [(5 * number, MINUTE, end) for number in range(len(held))]
            self.fail(shard=shard, failures=failures, twice=False)
        self.the_store_shows_what_the_model_holds()

    def _check_rising(self, shard: int, before: dict[str, int]) -> None:
        for name, plan in self.seen.contents[shard].schedules.items():
            assert plan.next in (-1, before[name]) or plan.next > before[name] >= 0, f"15: {name} goes back"

    def _firing(self, shard: int, ask: Ask) -> tuple[Firing, Request]:
        name = self.names_of(shard)[ask.which]
        views = [plan for at, of, plan in self.views if (at, of) == (shard, name)]
        now_there = self.models[shard].schedules.get(name)
        view = views[-1 - ask.view % len(views)] if ask.view is not None and views else now_there
        view = view or Planned("none", 1, "", 0)
        tick, job_id = self._tick_of(name, view, ask)
        job, request = self.new_job(shard, replace(ask.spec, key=None, reuse=None))
        self.ids[shard].pop()  # the id is another one
        expected = view.pending[0] if ask.kind == "pending" and view.pending else view.next
        next = -1 if ask.step < 0 else tick + ask.step
        made = msgspec.structs.replace(job, id=job_id)
        given: dict[str, NewJob | Refused | None] = {"made": made, "refused": "refused", "none": None}
        firing = Firing(
            name,
            view.mark,
            ask.kind,
            tick,
            expected,
            next,
            next + ask.later,
            ask.overlap,
            2 if ask.jump > 0 or ask.job == "none" else 0,
            given[ask.job] if ask.kind in ("tick", "pending") else made,
        )
        return firing, replace(request, id=job_id)

    def _tick_of(self, name: str, view: Planned, ask: Ask) -> tuple[int, str]:
        """The tick, and the id of its job."""
        if ask.kind == "pending" and view.pending:
            return view.pending[:2]
        if ask.kind == "trigger":
            trigger = self.earlier_or_new(self.triggers, ask.again, "")
            return self.now, ids.of_tick(name, "trigger", int(trigger))
        tick = view.next + max(ask.jump, 0) if view.next >= 0 else self.now
        if ask.kind == "backfill" and view.last_tick >= 0:
            tick = view.last_tick + ask.jump
        return tick, ids.of_tick(name, view.uid, tick)

    @invariant()
    def the_history_has_only_what_was_fired(self) -> None:
        for contents in self.seen.contents:
            for name, plan in contents.schedules.items():
                fired = [line[4] for line in plan.runs if line[3] == "fired"]
                assert len(set(fired)) == len(fired), f"15: {name} has a job twice"
                assert self.fired.issuperset(fired), f"15: {name} tells of jobs that it did not fire"
                assert all((line[4] == "") == (line[3] != "fired") for line in plan.runs)

    def drain(self) -> None:
        for shard, model in enumerate(self.models):
            items = [(name, ANY) for name in model.schedules]
            assert self.run(self.broker.schedules.delete_schedules(shard, items)) == ["ok"] * len(items)
            model.schedules.clear()
        super().drain()

"""Rules of the state machine for what is asked about single jobs: have a scheduled one run now, and delete one."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.properties import strategies as draw
from tests.properties.driver import Driver


class SingleJobRules(Driver):
    @precondition(lambda self: any(model.scheduled for model in self.models))
    @rule(shard=draw.shards, numbers=draw.few_numbers, again=draw.again, twice=st.booleans())
    def hasten(self, shard: int, numbers: list[int], again: int | None, twice: bool) -> None:
        shard, model = self.on(shard, lambda model: model.scheduled)
        request_id = self.earlier_or_new(self.replay_ids, again, "y")
        job_ids = self.pick_ids(shard, numbers, mostly=[*model.scheduled])
        self.hold(
            lambda: self.broker.jobs.run_now(shard, request_id, job_ids, now=self.now),
            lambda: model.hasten(self.now, request_id, job_ids),
            twice,
        )

    @precondition(lambda self: any(model.dead or model.done for model in self.models))
    @rule(shard=draw.shards, numbers=draw.few_numbers)
    def delete(self, shard: int, numbers: list[int]) -> None:
        shard, model = self.on(shard, lambda model: model.dead or model.done)
        job_ids = self.pick_ids(shard, numbers, mostly=[*model.dead, *model.done])
        self.hold(
            lambda: self.broker.jobs.delete(shard, job_ids, now=self.now), lambda: model.delete(self.now, job_ids)
        )

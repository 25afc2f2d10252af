"""The state machine with rules for unique jobs. By the others they run, crash, die, are cancelled and replayed."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.properties import strategies as draw
from tests.properties.groups import GroupMachine
from tests.properties.strategies import Spec

unique_lists = st.lists(draw.unique_specs, min_size=1, max_size=3)


class UniqueMachine(GroupMachine):
    def open_gate(self, shard: int) -> None:
        self.run(self.client.hset(self.broker.shards.keys[shard].meta, "features", "aside unique"))
        self.models[shard].features |= {"aside", "unique"}

    @rule(shard=draw.shards, specs=unique_lists, full=draw.rarely, twice=st.booleans())
    def enqueue_unique(self, shard: int, specs: list[Spec], full: bool, twice: bool) -> None:
        self.enqueue(shard=shard, specs=specs, full=full, twice=twice)

    @precondition(lambda self: any(model.leases for model in self.models))
    @rule(shard=draw.shards, spec=draw.unique_specs, twice=st.booleans())
    def enqueue_the_key_of_one_that_runs(self, shard: int, spec: Spec, twice: bool) -> None:
        self.enqueue(shard=shard, specs=[spec], full=False, twice=twice)

    @precondition(lambda self: any(model.replaced for model in self.models))
    @rule(number=st.integers(0, 5))
    def an_answer_lapses(self, number: int) -> None:
        kept = [(shard, job_id) for shard, model in enumerate(self.models) for job_id in sorted(model.replaced)]
        shard, job_id = kept[number % len(kept)]
        self.run(self.client.delete(self.broker.shards.keys[shard].dedupe(f"r:{job_id}")))
        del self.models[shard].replaced[job_id]

    def drain(self) -> None:
        super().drain()
        assert not any(shard.again for shard in self.seen.contents), "a job that was to follow is left behind"

"""The state machine with a rule for groups of jobs, which most calls of enqueue consist of."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import rule

from queuey.protocol.records import NewJobs
from tests.properties import strategies as draw
from tests.properties.machine import BrokerMachine
from tests.properties.strategies import Spec


class GroupMachine(BrokerMachine):
    @rule(shard=draw.shards, spec=draw.specs, count=st.integers(1, 4), twice=st.booleans())
    def enqueue_a_group(self, shard: int, spec: Spec, count: int, twice: bool) -> None:
        shard, model = self.on(shard)
        plain = replace(spec, key=None, delay=0, run_in=None, reuse=None)
        pairs = [self.new_job(shard, plain) for _ in range(count)]
        ids, bodies = [job.id for job, _ in pairs], [job.body for job, _ in pairs]
        group = NewJobs(plain.queue, plain.lane, pairs[0][0].head, ids, bodies, size=0)
        self.hold(
            lambda: self.broker.jobs.enqueue(shard, [group], now=self.now),
            lambda: model.enqueue(self.now, False, [request for _, request in pairs]),
            twice,
        )
        for job_id in ids:
            self.history.acknowledged(job_id, at_the_tail=True)

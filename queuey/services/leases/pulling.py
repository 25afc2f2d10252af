"""All that a replica has for workers that pull jobs over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from queuey.metrics import Metrics
from queuey.protocol.records import NewJob
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.progress import ProgressRecorder
from queuey.services.leases.acks import Acks
from queuey.services.leases.leasing import Leasing
from queuey.services.leases.outcomes import LeaseOutcomes
from queuey.services.leases.pull_workers import PullWorkers
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import StoreClient
from queuey.store.wakeups import SharedWaker, wake_groups

RETURN_PATIENCE: Final = 60.0
"""Seconds for which the store is asked to take back what nobody is there for."""


class Pulling:
    """To be made inside the running loop. `broker`'s calls are those of HTTP requests."""

    def __init__(self, broker: Broker, settings: Settings, *, metrics: Metrics) -> None:
        self.workers = PullWorkers()
        self.leasing = Leasing(broker, Acks(broker, RETURN_PATIENCE), settings, self.workers)
        self.progress = ProgressRecorder(broker)
        self.outcomes = LeaseOutcomes(broker, settings, self.workers, self.progress, metrics=metrics)
        self._broker = broker

    def wakers(self, open_client: Callable[[], StoreClient], replica: str, *, cluster: bool) -> Sequence[SharedWaker]:
        """Make the chores that wake waiting requests. `open_client` makes a client that may be blocked."""
        shards = self._broker.shards
        polls = self.leasing.polls
        wakers = [
            SharedWaker(open_client(), shards.client, shards, group, polls, replica)
            for group in wake_groups(shards, cluster=cluster)
        ]
        self.leasing.wakers = wakers
        return wakers

    def look_ahead(self, producer: Producer) -> None:
        """Have requests that wait look when this process enqueues, beside who else is told of it."""
        before, expect = producer.on_send, self.leasing.polls.expect

        def on_send(shard: int, jobs: Sequence[NewJob]) -> None:
            if before is not None:
                before(shard, jobs)
            expect(shard, jobs)

        producer.on_send = on_send

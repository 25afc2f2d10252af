"""The type watch: learns from the heartbeats of all replicas which types the live workers know, and their queues."""

from __future__ import annotations

from queuey.services.jobs.type_queues import TypeQueues
from queuey.services.workers import read_description
from queuey.store.broker.broker import Broker


class TypeWatch:
    """Asks the store for what the live workers say of types. The store answers in full only when it has changed."""

    def __init__(self, broker: Broker, queues: TypeQueues, interval: float) -> None:
        self._broker = broker
        self._queues = queues
        self._interval = interval
        self._mark = ""

    async def run_once(self) -> float:
        """Ask the first shard once."""
        answer = await self._broker.replicas.type_reports(0, self._mark)
        if answer.mark == self._mark:
            self._queues.refresh()
        else:
            found = [read_description(text) for text in answer.descriptions]
            self._queues.learn(worker for description in found if description for worker in description.workers)
            self._mark = answer.mark
        return self._interval

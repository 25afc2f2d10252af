"""Adding items to batches. Each shard has one batcher, so that concurrent requests share a script call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from queuey.errors import Full, OutcomeUnknown, QueueyError
from queuey.metrics import Metrics
from queuey.protocol.models import EnqueueReply
from queuey.protocol.schema_faults import too_many_queues
from queuey.protocol.stored.items import NewItem
from queuey.store.batching import Batcher
from queuey.store.broker.broker import Broker
from queuey.store.broker.jobs import Added


class ItemAdder:
    """Adds items to batches. Make it inside the running loop. The arguments are those of the Producer, which has it.

    `is_full` returns whether the store has no room for new items.
    """

    def __init__(
        self, broker: Broker, *, metrics: Metrics, resend_for: float, copies: int, is_full: Callable[[], bool]
    ) -> None:
        self._broker = broker
        self._metrics = metrics
        self._copies = copies
        self._is_full = is_full
        self._batchers: list[Batcher[NewItem, Added]] = [
            Batcher(partial(self._send, shard), resend_for=resend_for) for shard in range(broker.shards.count)
        ]

    async def _send(self, shard: int, items: Sequence[NewItem]) -> Sequence[Added]:
        added = await self._broker.batches.add_items(shard, items, full=self._is_full(), copies=self._copies)
        for item, each in zip(items, added, strict=True):
            if each.answer == "opened":
                self._metrics.enqueued.add((item.queue,), 1)
            elif each.answer == "there":
                self._metrics.deduplicated.add((item.queue,), 1)
        return added

    async def add(self, item: NewItem) -> EnqueueReply:
        """Return when the store has the item. Raises Full, Invalid, StoreUnavailable or OutcomeUnknown."""
        batcher = self._batchers[self._broker.shards.of_job(item.job.id)]
        try:
            return _reply(await batcher.submit(item, item.size))
        except OutcomeUnknown as error:
            advice = f"Send the item again with the id {item.id}, so that it is not added twice."
            raise OutcomeUnknown(f"{error.message} {advice}", [], error.retry_after) from None

    async def add_many(self, items: Mapping[int, NewItem]) -> dict[int, EnqueueReply | QueueyError]:
        """Return what `add` returns or raises for each item, by its number."""
        answers = await asyncio.gather(*(self.add(item) for item in items.values()), return_exceptions=True)
        found: dict[int, EnqueueReply | QueueyError] = {}
        for place, answer in zip(items, answers, strict=True):
            if not isinstance(answer, (EnqueueReply, QueueyError)):
                raise answer
            found[place] = answer
        return found

    async def drain(self) -> None:
        """Return when every item has its answer."""
        for batcher in self._batchers:
            await batcher.drain()


def _reply(added: Added) -> EnqueueReply:
    if added.answer == "there":
        return EnqueueReply(added.job_id, True)
    if added.answer == "full":
        raise Full("The store has no room for new jobs. Try again when some have finished.")
    if added.answer == "too_many_queues":
        raise too_many_queues()
    return EnqueueReply(added.job_id, False, items=added.items)

"""The chore for lists set aside: it removes the names of empty ones, and buries jobs whose type nobody knows."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence, Set
from typing import Final

from queuey import log
from queuey.protocol.models import WorkerInfo
from queuey.services.maintenance.loops import BATCH, CALLS
from queuey.services.unknown_types import LATE_MS, NOTED_EVERY, Knowledge, knowledge_of, takes_all
from queuey.services.workers import list_workers
from queuey.store.asides import ANY, SUSPECTS
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline
from queuey.store.shards import on_each

LOOK_SECONDS: Final = 5.0
WORKERS_SECONDS: Final = 1.5

OF_ANY_TYPE: Final = (ANY, SUSPECTS)
"""The lists whose jobs may have any type. They are noted as long as a worker of the queue takes only some types."""

List = tuple[str, str]
"""A list set aside of one queue: its lane and its type."""

logger = log.get(__name__)


class UnknownTypes:
    """Makes dead letters of jobs that were set aside and whose type no live worker of their queue has known for `ttl`
    seconds. 0: never. Expired jobs are cancelled in any case.

    A quiet worker still counts as one that knows its types. A worker that takes every type counts for `ttl` after its
    last request, since it may come back.
    """

    def __init__(
        self, broker: Broker, ttl: float, interval: float = LOOK_SECONDS, *, batch: int = BATCH, calls: int = CALLS
    ) -> None:
        self._broker = broker
        self._ttl_ms = max(round(ttl * 1000), LATE_MS) if ttl else 0
        self._interval = interval
        self._batch = batch
        self._calls = calls
        self._noted: dict[str, float] = {}
        """When it was noted last for each queue that a worker that takes every type asks for it."""

    async def run_once(self) -> float:
        """Look at the lists set aside of every shard."""
        workers = await list_workers(self._broker, Deadline(WORKERS_SECONDS))
        asked = {queue for worker in workers if takes_all(worker) for queue in worker.queues}
        since = time.monotonic() - NOTED_EVERY
        self._noted = {queue: at for queue, at in self._noted.items() if at > since}
        await on_each(range(self._broker.shards.count), lambda shard: self._look(shard, workers, asked))
        self._noted |= dict.fromkeys(asked - self._noted.keys(), time.monotonic())
        return self._interval

    async def _look(self, shard: int, workers: Sequence[WorkerInfo], asked: Collection[str]) -> None:
        """Note the types of one shard that nobody knows, and bury their jobs if it is time."""
        lists: dict[str, list[List]] = {}
        for queue, lane, name, _ in await self._broker.maintenance.tidy_asides(shard):
            lists.setdefault(queue, []).append((lane, name))
        queues = sorted(lists.keys() | (set(asked) - self._noted.keys()))
        known = {queue: knowledge_of(workers, queue, with_quiet=True) for queue in queues}
        unknown = {queue: _unknown(lists.get(queue, ()), known[queue]) for queue in queues}
        rows = [(queue, queue in asked, unknown[queue]) for queue in queues]
        noted = await self._broker.maintenance.note_types(shard, rows) if rows else ()
        for queue, note in zip(queues, noted, strict=True):
            is_asked = 0 <= note.asked_ms < self._ttl_ms
            late = {
                name
                for name, ms in zip(unknown[queue], note.unknown_ms, strict=True)
                if self._ttl_ms and ms >= self._ttl_ms and not is_asked
            }
            await self._bury(shard, queue, lists.get(queue, ()), late, known[queue])

    async def _bury(self, shard: int, queue: str, lists: Iterable[List], late: Set[str], known: Knowledge) -> None:
        """Bury the late jobs of the types in `late`, and cancel the expired jobs at the heads of all lists."""
        places = [
            (queue, lane, name, self._ttl_ms if name in late else 0)
            for lane, name in lists
            if name not in OF_ANY_TYPE or name in late  # to look at a list of any type is to turn it
        ]
        spared = sorted(known.types) if not late.isdisjoint(OF_ANY_TYPE) else ()
        for _ in range(self._calls if places else 0):
            buried = await self._broker.maintenance.bury_unknown(shard, self._batch, places, spared)
            if buried.dead:
                logger.warning("unknown_type_buried", queue=queue, jobs=len(buried.dead), shard=shard)
            if not buried.more or not (buried.dead or buried.expired):
                break


def _unknown(lists: Iterable[List], known: Knowledge) -> list[str]:
    """Return the types of these lists that no worker takes, and the lists that may have jobs of such types."""
    return sorted({name for _, name in lists if known.lacks(ANY if name == SUSPECTS else name)})

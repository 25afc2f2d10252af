"""The lists set aside from which a worker can claim."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from queuey.store.asides import KnownAsides
from queuey.store.wakeups import Aside
from queuey.worker.slots import Slots
from queuey.worker.turns import Turns


class AsideLists:
    """The lists of a worker's queues and types. `known` is None for a worker that does not claim from the store."""

    def __init__(
        self, known: KnownAsides | None, shards: int, queues: Collection[str], slots: Slots, turns: Turns
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        """Called when `claimable` may have grown while the worker waits."""
        self._known = known
        self._shards = shards
        self._queues = queues
        self._slots = slots
        self._turns = turns
        self._woken: dict[int, set[str]] = {}
        """For each shard: the types whose markers this worker has taken since its last claim."""

    @property
    def some(self) -> bool:
        """Whether `claimable` or `full` may change: a list is known, or a queue has a limit."""
        return bool(self._known) or self._slots.queues is not None

    @property
    def full(self) -> Collection[str]:
        """The queues with a limit of which no job can begin now."""
        return () if self._slots.queues is None else self._slots.queues.full

    def of(self, shard: int, queue: str) -> Collection[tuple[str, str]]:
        """Return the known lists of a queue, each as (lane, type)."""
        return self._known.lists(shard, queue) if self._known else ()

    def claimable(self, shard: int) -> Iterator[Aside]:
        """Return the known lists on a shard of which a job can begin now."""
        if self._known:
            for queue in self._queues:
                for type in self._known.types(shard, queue):
                    if self._can_begin(queue, type):
                        yield shard, queue, type

    def ate(self, aside: Aside) -> bool:
        """Take the marker of a list, which the next claim puts back if jobs are left. Returns False without room."""
        shard, queue, type = aside
        if not self._can_begin(queue, type):
            return False
        self._woken.setdefault(shard, set()).add(type)
        return True

    def woken(self, shard: int) -> Collection[str]:
        """Return the types whose markers were taken, for a claim. They count as taken no more."""
        return self._woken.pop(shard, ())

    def hear(self, message: str) -> None:
        """Claim from a list that was set aside just now, if the worker can. `message` is from the store's channel."""
        if self._known is not None:
            self.named(*self._known.hear(message))

    def named(self, shard: int, lists: Sequence[tuple[str, str]]) -> None:
        """Claim if a job of these new lists, each a queue and a type, can begin."""
        if shard < self._shards and any(
            queue in self._queues and self._can_begin(queue, type) for queue, type in lists
        ):
            self._turns.wake(shard)

    def _can_begin(self, queue: str, type: str) -> bool:
        return self._slots.room_for(type) > 0 and self._slots.room_in(queue) > 0

    def room_grew(self) -> None:
        """Claim for an executor that had no room and has some now. No marker wakes the worker for its lists."""
        for shard in range(self._shards if self.some else 0):
            if any(True for _ in self.claimable(shard)):
                self._turns.wake(shard)

"""The outcomes of a worker that are being reported, by shard. A shard that answers too few gets no more claims."""

from __future__ import annotations

from queuey.worker.slots import MAX_UNCONFIRMED, Slots
from queuey.worker.turns import Turns


class Unconfirmed:
    """Counts outcomes. A shard that has MAX_UNCONFIRMED for each slot is left out of `turns` until it has fewer.

    Thus the outcomes for shards that are silent do not use up what the others may have.
    """

    def __init__(self, slots: Slots, turns: Turns) -> None:
        self._slots = slots
        self._turns = turns
        self._most = MAX_UNCONFIRMED * slots.total
        self._counts = [0] * turns.shards

    def report(self, shard: int) -> None:
        """Count an outcome that is being reported."""
        self._slots.report()
        self._counts[shard] += 1
        if self._counts[shard] == self._most:
            self._turns.leave_out(shard)

    def confirm(self, shard: int) -> None:
        """Count an outcome that was accepted or given up."""
        self._slots.confirm()
        self._counts[shard] -= 1
        if self._counts[shard] == self._most - 1:
            self._turns.include(shard)

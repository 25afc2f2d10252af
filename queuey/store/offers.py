"""Offers: the free room of an idle claimer, which goes with an enqueue."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from queuey.store.broker.calls import CLAIM_BYTES
from queuey.store.replies import Claimed


class Offer(Struct, kw_only=True):
    """A claim that an enqueue makes for an idle worker or pull worker, if it would find only the new jobs.

    The script `enqueue` decides that. `limit`: the most jobs that the claimer takes.
    """

    claim_id: str
    worker: str
    lease_ms: int
    limit: int
    queues: Sequence[str]
    """All queues that the claimer would claim from."""
    claimed: Claimed | None = None
    """The jobs that an enqueue has claimed for it. None: no reply said so yet."""

    def arguments(self) -> tuple[object, ...]:
        """Return it as the script takes it."""
        return self.claim_id, self.worker, self.lease_ms, self.limit, self.queues, CLAIM_BYTES

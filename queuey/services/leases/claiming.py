"""A request of a pull worker for leases, while it claims and waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from queuey.protocol import ids
from queuey.protocol.models import LeaseRequest
from queuey.services.leases.long_polls import Poll
from queuey.services.leases.terms import terms_of
from queuey.store.offers import Offer


class ClaimingRequest(Poll):
    """A request for leases, from its first claim until its reply.

    `worker_key` is the worker's key in the register. `claim_id` is the client's claim id, as the store knows it. None:
    each claim has a new one. `may_offer` says whether the request may make an offer now.
    """

    __slots__ = (
        "asked",
        "claim_id",
        "due",
        "everything",
        "inherits",
        "isolates",
        "may_offer",
        "offered_at",
        "replaced",
        "rests",
        "spent",
        "suspects",
        "terms",
        "worker",
        "worker_key",
    )

    def __init__(
        self,
        asked: LeaseRequest,
        worker: str,
        worker_key: str,
        claim_id: str | None,
        may_offer: Callable[[ClaimingRequest], bool],
    ) -> None:
        self.terms = terms_of(asked)
        """The types that it takes, and its room for them. None: every type."""
        able = self.terms.able if self.terms is not None else None
        super().__init__(() if able == frozenset() else asked.queues, able)
        self.everything = self.group
        self.asked = asked
        self.worker = worker
        self.worker_key = worker_key
        self.claim_id = claim_id
        self.may_offer = may_offer
        self.offered_at: tuple[datetime, float] | None = None
        """The time at which its last offer was made, and the same by the event loop's time."""
        self.due: dict[int, int] = {}
        """For each shard: the ms until its next job was due at the last claim."""
        self.rests = False
        """Whether the last claim said that its worker gets nothing for now."""
        self.suspects = 1
        self.isolates = asked.isolates if isinstance(asked.isolates, int) else None
        """The number of suspects that it can begin, each in a process of its own; None if it has no such processes."""
        self.spent = False
        """Whether all jobs that its claim id had claimed before have ended."""
        self.replaced = False
        """Whether a later request has the same claim id. The jobs are then for that one."""
        self.inherits = False
        """Whether the request that it has replaced may have got jobs since, so that it must claim again."""

    def offer(self, shard: int, types: Collection[str]) -> Offer | None:
        limit = self.asked.max if self.terms is None else min(self.asked.max, self.terms.limit(types))
        if not limit or not self.may_offer(self):
            return None
        self.offered_at = datetime.now(UTC), asyncio.get_running_loop().time()
        return Offer(
            claim_id=self.claim_id or ids.short_random(),
            worker=self.worker,
            lease_ms=round(self.asked.lease * 1000),
            limit=limit,
            queues=self.asked.queues,
        )

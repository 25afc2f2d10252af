"""The claims of requests for leases, with the lists set aside from which they may take jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from queuey.services.leases.claiming import ClaimingRequest
from queuey.services.leases.long_polls import LongPolls
from queuey.store.asides import ANY, SUSPECTS, Room, Wanted
from queuey.store.broker.broker import Broker
from queuey.store.replies import Claimed

MAX_TURNS: Final = 20
"""The maximum number of calls for one claim. Each may set aside 100 jobs that the request does not take."""

OnNew = Callable[[int, Sequence[tuple[str, str]]], None]
"""Called with a shard, and the queue and type of each list set aside that is new to this process."""


class Claims:
    """Sends the claims of requests. `polls` know the lists set aside, and learn of them from each reply."""

    def __init__(self, broker: Broker, polls: LongPolls, *, max_starve_ms: int, on_new: OnNew) -> None:
        self._broker = broker
        self._known = polls.known
        self._max_starve_ms = max_starve_ms
        self._on_new = on_new
        self._turns = [0] * broker.shards.count
        """For each shard: the number of claims. Queues take turns in them."""

    async def send(
        self,
        request: ClaimingRequest,
        shard: int,
        claim_id: str,
        limit: int,
        *,
        suspects: int,
        isolates: int | None,
        taken: Sequence[str] = (),
    ) -> Claimed:
        """Claim until there are jobs, or nothing is left that the request takes. It is safe to send again.

        `taken`: the types of the jobs that the request has claimed before, on other shards.
        """
        queues = self._in_turn(shard, request.asked.queues) if limit else request.asked.queues
        room = request.terms.room(taken) if request.terms is not None else ()
        limit = min(limit, sum(entry.jobs for entry in room)) if room else limit
        woken = [request.marker[2]] if request.marker is not None and request.marker[2] else []
        turn, is_typed = 0, request.terms is not None or bool(woken)
        while True:
            is_typed = is_typed or self._has_lists(request, shard)
            wanted = self._wanted(request, shard, room, woken) if limit and is_typed else None
            claimed = await self._broker.leases.claim(
                shard,
                claim_id=claim_id,
                worker=request.worker,
                lease_ms=round(request.asked.lease * 1000),
                limit=limit,
                queues=queues,
                max_starve_ms=self._max_starve_ms,
                suspects=suspects,
                isolates=isolates,
                wanted=wanted,
            )
            turn, woken, is_typed = turn + 1, [], is_typed or bool(claimed.asides)
            if claimed.repeated or not limit:
                return claimed
            self._on_new(shard, self._known.tell(shard, queues, claimed.asides))
            if claimed.jobs or turn >= MAX_TURNS or not self._is_left(request, shard, wanted, claimed):
                return claimed

    def _in_turn(self, shard: int, queues: Sequence[str]) -> Sequence[str]:
        if len(queues) == 1:
            return queues
        self._turns[shard] += 1
        first = self._turns[shard] % len(queues)
        return [*queues[first:], *queues[:first]]

    def _has_lists(self, request: ClaimingRequest, shard: int) -> bool:
        """Return whether any list is known, so that a plain claim would only name it."""
        return any(self._known.lists(shard, queue) for queue in request.group)

    def _wanted(self, request: ClaimingRequest, shard: int, room: Sequence[Room], woken: Sequence[str]) -> Wanted:
        """Return the terms of a claim."""
        take = {queue: lists for queue in request.group if (lists := list(self._lists(request, shard, queue)))}
        return Wanted(room=room, others=request.terms is None, take=take, woken=woken)

    def _lists(self, request: ClaimingRequest, shard: int, queue: str) -> Iterable[tuple[str, str]]:
        """Return the lists of a queue from which the request may take jobs now."""
        for lane, name in self._known.lists(shard, queue):
            if self._takes(request, name):
                yield lane, name

    @staticmethod
    def _takes(request: ClaimingRequest, name: str) -> bool:
        if name == SUSPECTS:  # a worker without processes for them gets one alone, which the store decides
            return (request.isolates or 0) > 0
        return request.looks if name == ANY else request.types is None or name in request.types

    def _is_left(self, request: ClaimingRequest, shard: int, wanted: Wanted | None, claimed: Claimed) -> bool:
        """Return whether another call may bring jobs: the store has named lists that this one left out, or stopped."""
        if wanted is None:
            return bool(claimed.asides)
        return claimed.more or any(
            place not in wanted.take.get(queue, ())
            for queue in request.group
            for place in self._lists(request, shard, queue)
        )

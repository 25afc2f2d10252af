"""Waiting for work without polling: a blocking pop of the wake markers, and a timer for the next scheduled job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from itertools import islice
from typing import Final, Protocol, cast

from redis import exceptions as redis_errors

from queuey import log
from queuey.lifecycle import Retrying
from queuey.store.connections.pipelined import StoreClient
from queuey.store.keys import poke_key
from queuey.store.shards import Shards

BLOCK_SECONDS: Final = 2
"""Seconds after which every shard is checked: a marker may be lost together with its replica."""
REST_SECONDS: Final = 1.0
"""Seconds until a worker that gets nothing for now asks again. It waits for no marker meanwhile."""
POKE_SECONDS: Final = 60
"""Seconds after which the store deletes a poke whose replica died."""
MAX_ASIDES: Final = 4_096
"""The most lists set aside whose markers one wait is for. Jobs of the others are found at the end of a round."""
RETRY_FIRST: Final = 0.1
RETRY_CAP: Final = 2.0

_Popped = tuple[bytes, bytes, bytes]
"""Key, member, score."""

logger = log.get(__name__)


Aside = tuple[int, str, str]
"""The lists of one type that were set aside in a queue: shard, queue, type. They have a marker of their own."""


class AsideTaker(Protocol):
    """A worker that claims from lists set aside, and from queues that may be full."""

    @property
    def full(self) -> Collection[str]:
        """The queues of which no job can begin now."""

    def claimable(self, shard: int) -> Iterable[Aside]:
        """Return the known lists on a shard of which a job can begin now."""

    def ate(self, aside: Aside) -> bool:
        """Take the marker of a list. Returns False if no job of its type can begin any more."""


class Waker:
    """Blocks on the markers of some shards, on a connection of its own, and reports the shards worth a claim.

    A marker names its shard; after a timeout or an error every shard is worth a claim. `may_wait` is set while the
    process has a free slot and nothing to claim. A busy process must leave the markers to others: one that filled up
    while it waited puts its marker back.

    It blocks on the markers of the lists that `taker` can claim from too. When there are further ones, `cover` makes
    the wait start again, by a key of this `replica`.
    """

    def __init__(
        self,
        client: StoreClient,
        shards: Shards,
        group: Sequence[int],
        queues: Sequence[str],
        may_wait: asyncio.Event,
        on_wake: Callable[[int], None],
        taker: AsideTaker | None = None,
        replica: str = "",
    ) -> None:
        self._link = client.link
        self._shards = shards
        self._group = group
        self._places = {shards.keys[shard].wake(queue).encode(): (shard, queue) for queue in queues for shard in group}
        """The shard and the queue of each marker."""
        self._may_wait = may_wait
        self._on_wake = on_wake
        self._taker = taker
        self._poke = poke_key(shards.keys[group[0]], f"{replica}:worker").encode()
        self._covered: Set[bytes] | None = None
        """The markers that the present wait is for; None while there is no wait."""
        self._retries = Retrying(RETRY_FIRST, RETRY_CAP)

    async def run_once(self) -> float:
        """Wait for one marker, for BLOCK_SECONDS at most, and report its shard."""
        await self._may_wait.wait()
        try:
            key = await self._pop()
        except (redis_errors.RedisError, OSError) as error:
            logger.debug("wake_wait_failed", error=str(error))
            await self._retries.wait()  # then claim, since the store may be back
            key = None
        else:
            self._retries.reset()
        if key != self._poke:
            for shard in self._group if key is None else [self._places[key][0]]:
                self._on_wake(shard)
        return 0.0

    async def _pop(self) -> bytes | None:
        """Wait for a marker. Returns the key of its queue, or the poke; None if there was none in time."""
        asides, queues = self._asides(), self._open_queues()
        keys = (self._poke, *queues, *asides) if self._taker is not None else queues
        self._covered = queues.keys() | asides.keys()
        try:
            popped = cast(_Popped | None, await self._link.call("BZPOPMIN", *keys, BLOCK_SECONDS))
        finally:
            self._covered = None
        if popped is None or popped[0] == self._poke:
            return popped[0] if popped else None
        key, marker, score = popped
        aside = asides.get(key)
        if not (self._may_wait.is_set() and self._takes(key, aside)):
            await self._link.call("ZADD", key, score, marker)
        return key if aside is None else self._shards.keys[aside[0]].wake(aside[1]).encode()

    def _takes(self, key: bytes, aside: Aside | None) -> bool:
        """Take the marker of a queue, or of a list. Returns False if no job of it can begin any more."""
        if self._taker is None:
            return True
        return self._places[key][1] not in self._taker.full if aside is None else self._taker.ate(aside)

    def _open_queues(self) -> Mapping[bytes, tuple[int, str]]:
        """Return the markers of the queues of which a job can begin, each with its place."""
        full = self._taker.full if self._taker is not None else ()
        return {key: place for key, place in self._places.items() if place[1] not in full} if full else self._places

    def _asides(self) -> dict[bytes, Aside]:
        """Return the lists to wait for, by the keys of their markers."""
        if self._taker is None:
            return {}
        found = islice((aside for shard in self._group for aside in self._taker.claimable(shard)), MAX_ASIDES)
        return {
            self._shards.keys[shard].wake_type(queue, type).encode(): (shard, queue, type)
            for shard, queue, type in found
        }

    async def cover(self) -> None:
        """Include further queues and lists in the present wait. If the store does not answer, it soon ends itself."""
        if self._covered is None or self._covered >= self._open_queues().keys() | self._asides().keys():
            return
        self._covered = None
        calls = self._shards.client_of(self._group[0]).link
        try:
            await calls.call("ZADD", self._poke, 0, "m")
            await calls.call("EXPIRE", self._poke, POKE_SECONDS)
        except (redis_errors.RedisError, OSError) as error:
            logger.debug("poke_failed", error=str(error))


class Covering:
    """Has wakers include further lists in their waits, each time that `changed` is set."""

    def __init__(self, wakers: Sequence[Waker], changed: asyncio.Event) -> None:
        self._wakers = wakers
        self._changed = changed

    async def run_once(self) -> float:
        """Wait for a change, and pass it on."""
        await self._changed.wait()
        self._changed.clear()
        await asyncio.gather(*(waker.cover() for waker in self._wakers))
        return 0.0


class Pollers(Protocol):
    """The requests of this process that wait for work, each for some queues and perhaps only for some types."""

    some: asyncio.Event
    """Set while at least one request waits."""

    @property
    def queues(self) -> Collection[str]:
        """The queues that at least one request waits for."""

    def asides(self, shards: Sequence[int]) -> Collection[Aside]:
        """Return the known lists set aside on these shards from which at least one request would claim."""

    def wake(self, shard: int, queue: str, type: str = "") -> bool:
        """Wake one request, since there may be work. Returns False when none waits for that queue and type.

        The type is '' for the marker of the queue, which is for jobs of any type.
        """

    def wake_each(self, shards: Sequence[int]) -> None:
        """Wake one request for each set of queues, without a marker."""


class SharedWaker:
    """Blocks on the markers of some shards for all waiting requests, on one connection, while there are any.

    A request for further queues or types makes the wait start again, by `cover`. A marker that no request here can use
    goes back to the store, for other replicas. What must not wait behind the blocking call goes through `shards`.
    """

    def __init__(
        self,
        client: StoreClient,
        shards: Shards,
        group: Sequence[int],
        pollers: Pollers,
        replica: str,
    ) -> None:
        self._link = client.link
        self._shards = shards
        self._group = group
        self._pollers = pollers
        self._poke = poke_key(shards.keys[group[0]], replica)
        self._covered: frozenset[str] | None = None
        """The queues that the present wait is for; None while there is none, or it is about to start again."""
        self._covered_asides: frozenset[Aside] = frozenset()
        """The lists set aside that it is for."""
        self._round_ends: float | None = None
        """When requests are woken without a marker, by the event loop's time; None before the first."""
        self._retries = Retrying(RETRY_FIRST, RETRY_CAP)

    async def run_once(self) -> float:
        """Wait for one marker, until the round ends at most, and wake a request for it."""
        loop = asyncio.get_running_loop()
        if self._round_ends is None or not self._pollers.some.is_set():
            await self._pollers.some.wait()
            self._round_ends = loop.time() + BLOCK_SECONDS
        try:
            await self._wait_once(max(0.001, self._round_ends - loop.time()))
            self._retries.reset()
        except (redis_errors.RedisError, OSError) as error:
            logger.debug("wake_wait_failed", error=str(error))
            await self._retries.wait()
            self._round_ends = loop.time()
        finally:
            self._covered = None
        if loop.time() >= self._round_ends:
            self._pollers.wake_each(self._group)
            self._round_ends = loop.time() + BLOCK_SECONDS
        return 0.0

    async def _wait_once(self, seconds: float) -> None:
        self._covered = frozenset(self._pollers.queues)
        self._covered_asides = frozenset(islice(self._pollers.asides(self._group), MAX_ASIDES))
        places = [(shard, queue, "") for queue in self._covered for shard in self._group]
        by_key = {self._marker(*place).encode(): place for place in (*places, *self._covered_asides)}
        popped = cast(_Popped | None, await self._link.call("BZPOPMIN", self._poke, *by_key, f"{seconds:.3f}"))
        if popped is not None and popped[0] in by_key:
            place = by_key[popped[0]]
            if not self._pollers.wake(*place):
                await self.hand_on(*place)

    def _marker(self, shard: int, queue: str, type: str) -> str:
        keys = self._shards.keys[shard]
        return keys.wake_type(queue, type) if type else keys.wake(queue)

    async def cover(self, queues: Iterable[str], asides: Iterable[Aside] = ()) -> None:
        """Include these places in the present wait. If the store does not answer, the wait soon ends by itself."""
        if self._covered is None:
            return
        here = {aside for aside in asides if aside[0] in self._group}
        if self._covered.issuperset(queues) and (
            self._covered_asides >= here or len(self._covered_asides) >= MAX_ASIDES
        ):
            return
        self._covered = None
        calls = self._shards.client_of(self._group[0]).link
        try:
            await calls.call("ZADD", self._poke, 0, "m")
            await calls.call("EXPIRE", self._poke, POKE_SECONDS)
        except (redis_errors.RedisError, OSError) as error:
            logger.debug("poke_failed", error=str(error))

    async def hand_on(self, shard: int, queue: str, type: str = "") -> None:
        """Put back a marker for other replicas. If that fails, they find the job at the end of their round."""
        try:
            await self._shards.client_of(shard).link.call("ZADD", self._marker(shard, queue, type), 0, "m")
        except (redis_errors.RedisError, OSError) as error:
            logger.debug("marker_lost", error=str(error))


def wake_groups(shards: Shards, *, cluster: bool) -> list[list[int]]:
    """Return the groups of shards that one blocking call may cover: on a Cluster one each, else all together.

    A Cluster refuses a call with keys of two slots.
    """
    every = list(range(shards.count))
    return [[shard] for shard in every] if cluster else [every]

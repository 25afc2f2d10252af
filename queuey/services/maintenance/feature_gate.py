"""The gate for new kinds of keys: opens a feature once every replica of the store knows it.

The scripts decide by a field in the store whether they may write a feature's keys, so no replica has to ask here first.
docs/adr/0020-feature-gate.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from queuey import log
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import FEATURES, SETTLE_MS
from queuey.store.replies import Beat, Opening

logger = log.get(__name__)


class FeatureGate:
    """Opens the features that this version knows, step by step: one attempt with each heartbeat until all are open.

    It also quiets replicas that do not know a feature in use. There is one only if it had stopped for longer than the
    store remembers a replica, and now goes on. `on_older` is called with each heartbeat while there is one."""

    def __init__(
        self,
        broker: Broker,
        features: Collection[str] = FEATURES,
        settle_ms: int = SETTLE_MS,
        on_older: Callable[[], None] = lambda: None,
    ) -> None:
        self._broker = broker
        self._features = features
        self._settle_ms = settle_ms
        self._on_older = on_older
        self._open: set[str] = set()
        self._held_by: dict[str, list[str]] = {}
        self._strangers: Sequence[str] = ()

    @property
    def open(self) -> frozenset[str]:
        """The features that are open on every shard, as of the last heartbeat."""
        return frozenset(self._open)

    async def drive(self, beat: Beat) -> None:
        """Try to open what is not open yet. Raises StoreError; the next heartbeat tries again."""
        self._open &= set(beat.features)  # a store that was flushed has none
        for feature in self._features:
            if feature not in self._open and await self._try(feature):
                self._open.add(feature)
                logger.info("feature_open", feature=feature)
        await self._quiet(beat)

    async def _try(self, feature: str) -> bool:
        """Return whether the feature is open on every shard now.

        Shard 0 has the heartbeats. It is asked first, and is the last to open: once it is open, all are."""
        first = await self._call(0, feature, may_open=False)
        self._note(feature, first)
        if first.word == "held":
            return False
        others = range(1, self._broker.shards.count)
        for shard in others:
            await self._call(shard, feature, may_open=False)
        if first.word == "settling":
            return False
        for shard in others:
            await self._call(shard, feature, may_open=True)
        last = await self._call(0, feature, may_open=True)
        self._note(feature, last)
        return last.word == "open"

    async def _call(self, shard: int, feature: str, *, may_open: bool) -> Opening:
        settle_ms = 0 if shard else self._settle_ms
        return await self._broker.replicas.open_feature(shard, feature, settle_ms, may_open=may_open)

    def _note(self, feature: str, opening: Opening) -> None:
        """Log which replicas hold a feature, whenever these are others than before."""
        held_by = sorted(opening.held_by)
        if held_by and held_by != self._held_by.get(feature):
            logger.info("feature_held", feature=feature, replicas=held_by)
        self._held_by[feature] = held_by

    async def _quiet(self, beat: Beat) -> None:
        strangers = sorted(beat.strangers)
        if strangers and strangers != self._strangers:
            logger.warning(
                "older_replicas", replicas=strangers, advice="Stop them: they do not know all data of this store."
            )
        self._strangers = strangers
        if strangers:
            self._on_older()
        for replica in strangers:
            if replica not in beat.quiet:
                await self._broker.replicas.quiet_worker(0, replica)

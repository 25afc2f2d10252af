"""The scripts of lua/replicas/: replicas of Queuey and their workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from queuey.errors import OtherShards, TooOld
from queuey.protocol import ids
from queuey.protocol.allowed import counted
from queuey.store.broker.calls import FEATURE_FORMAT, FEATURES, SETTLE_MS, STALE_MS, Group, word
from queuey.store.replies import About, Beat, Opening, Registered, Replicas, TypeReports

MAX_REPORTS_BYTES: Final = 8_000_000
"""The maximum size of all descriptions that `type_reports` returns, but for the last one."""

_about = msgspec.msgpack.Decoder(About).decode
_beat = msgspec.msgpack.Decoder(Beat).decode
_opening = msgspec.msgpack.Decoder(Opening).decode
_registered = msgspec.msgpack.Decoder(Registered).decode
_type_reports = msgspec.msgpack.Decoder(TypeReports).decode
_replicas = msgspec.msgpack.Decoder(Replicas).decode


def refuse_unknown(features: Sequence[str]) -> None:
    """Raise TooOld if the store has features in use that this version does not know."""
    if features:
        raise TooOld(
            f"The store's data uses {', '.join(features)}, which this version of Queuey does not know: start the "
            "version that the other replicas have, or export with that version and import into another store."
        )


def refuse_misfit(beat: Beat, shards: int) -> None:
    """Raise CannotRunHere if the reply to a heartbeat says that a replica with so many shards must stop."""
    refuse_unknown(beat.unknown)
    if beat.shards not in (0, shards):
        raise _other_shards(beat.shards, shards)


def _other_shards(found: int, asked: int) -> OtherShards:
    return OtherShards(
        f"The store holds its jobs in {counted(found, 'shard')} and this process asks for {asked}: start it with "
        f"--shards {found}."
    )


def check_data(about: About) -> None:
    """Check that this version reads the data of a store. Raises StartupError."""
    if about.data_format > FEATURE_FORMAT:
        raise TooOld(
            f"The store's data has format {about.data_format} and this version of Queuey reads up to {FEATURE_FORMAT}: "
            "start the version that wrote it."
        )
    refuse_unknown([feature for feature in about.features if feature not in FEATURES])


class ReplicaCalls(Group):
    """Registers replicas, sends their heartbeats, and lists their workers."""

    async def register(self) -> None:
        """Compare this replica's data format, features and number of shards with the store's.

        A difference is a StartupError. A new store has all features open from the start."""
        store_id, count = ids.short_random(), self._shards.count
        to_open: Sequence[str] = FEATURES
        for shard in range(count):
            found = _registered(await self._call(shard, "register", FEATURE_FORMAT, count, store_id, FEATURES, to_open))
            if found.shards != count:
                raise _other_shards(found.shards, count)
            check_data(About(found.data_format, count, 0, "", 0, features=found.features))
            if shard == 0:
                to_open = found.features

    async def store_info(self, shard: int, *, now: int = 0) -> About:
        """Read the format, the shards and the identity of the store, without registering."""
        return _about(await self._call(shard, "store_info", now))

    async def heartbeat(
        self,
        shard: int,
        replica: str,
        description: str,
        stale_ms: int = STALE_MS,
        quiet_here: Sequence[str] = (),
        *,
        now: int = 0,
    ) -> Beat:
        """Send a heartbeat. The description '' means that the replica leaves. `quiet_here`: its quiet workers."""
        count = self._shards.count
        return _beat(await self._call(shard, "heartbeat", now, replica, description, stale_ms, quiet_here, count))

    async def open_feature(
        self, shard: int, feature: str, settle_ms: int = SETTLE_MS, *, may_open: bool, now: int = 0
    ) -> Opening:
        """Raise the data format, and open a feature, once all known replicas know it.

        Replies with `open`, `ready`, `settling` or `held`."""
        return _opening(await self._call(shard, "open_feature", now, feature, FEATURE_FORMAT, settle_ms, may_open))

    async def workers(self, shard: int, stale_ms: int = STALE_MS, *, now: int = 0) -> Replicas:
        """List the replicas that sent a heartbeat within `stale_ms`."""
        return _replicas(await self._call(shard, "workers", now, stale_ms))

    async def type_reports(self, shard: int, mark: str, stale_ms: int = STALE_MS, *, now: int = 0) -> TypeReports:
        """Read what the live replicas report of types, if it has changed since the reply with this mark."""
        return _type_reports(await self._call(shard, "type_reports", now, stale_ms, mark, MAX_REPORTS_BYTES))

    async def quiet_worker(self, shard: int, worker: str, *, now: int = 0) -> str:
        """Make a worker claim no more jobs. Replies with `ok` or `too_many`."""
        return word(await self._call(shard, "quiet_worker", now, worker))

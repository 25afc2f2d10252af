"""The Broker: one method per Lua script. Nothing above it knows a command or a key of the store.

A method that moves jobs takes the shard and a batch, and answers with one status word per job, as its script's header
explains. `now` is for tests; 0 means the store's clock. Every method raises StoreUnavailable, Full or ScriptFailed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Final, cast

import msgspec
from redis import exceptions as redis_errors

from queuey.errors import QueueyError, StartupError, StoreUnavailable
from queuey.protocol import ids
from queuey.protocol.records import NewJob, StoredJob
from queuey.store.keys import ScanKind, cancel_channel, listening_channel, scan_names
from queuey.store.replies import (
    About,
    Beat,
    Caps,
    Claimed,
    Dead,
    Dumped,
    DumpedJob,
    HeldKey,
    Listed,
    Page,
    Place,
    Placed,
    Promoted,
    Purged,
    QueueHead,
    Reaped,
    Replicas,
    Stats,
    Trimmed,
    Vitals,
)
from queuey.store.scripts import Scripts, translate
from queuey.store.shards import Shards

DATA_FORMAT: Final = 1
MAX_BATCH: Final = 512
"""Jobs in one call of a script."""
MAX_BYTES: Final = 1_000_000
"""Bytes of arguments in one call of a script."""
EVENTS_KEPT: Final = 10_000
"""About how many events can be read again."""
CLAIM_BYTES: Final = 4_000_000
"""Claim stops after the definition that passes this."""
STALE_MS: Final = 60_000
"""Without a sign of life for so long a replica is forgotten."""
SCAN_COUNT: Final = 1000
"""Keys that the store looks at for one answer of `scan`."""

Held = tuple[str, str]
"""A job's id and the token of its lease."""
Unextended = tuple[str, str, int]
"""The same, and for how many ms it was claimed: it counts only while its lease has not been extended since."""


_encode = msgspec.msgpack.Encoder().encode
_words = msgspec.msgpack.Decoder(list[str]).decode
_word = msgspec.msgpack.Decoder(str).decode
_claimed = msgspec.msgpack.Decoder(Claimed).decode
_reaped = msgspec.msgpack.Decoder(Reaped).decode
_promoted = msgspec.msgpack.Decoder(Promoted).decode
_trimmed = msgspec.msgpack.Decoder(Trimmed).decode
_stored = msgspec.msgpack.Decoder(list[StoredJob]).decode
_listed = msgspec.msgpack.Decoder(list[Listed]).decode
_placed = msgspec.msgpack.Decoder(Placed).decode
_page = msgspec.msgpack.Decoder(Page).decode
_stats = msgspec.msgpack.Decoder(Stats).decode
_about = msgspec.msgpack.Decoder(About).decode
_dumped = msgspec.msgpack.Decoder(Dumped).decode
_two_lists = msgspec.msgpack.Decoder(tuple[list[str], list[str]]).decode
_heads = msgspec.msgpack.Decoder(list[QueueHead]).decode
_purged = msgspec.msgpack.Decoder(Purged).decode
_dead = msgspec.msgpack.Decoder(Dead).decode
_beat = msgspec.msgpack.Decoder(Beat).decode
_replicas = msgspec.msgpack.Decoder(Replicas).decode
_numbers = msgspec.msgpack.Decoder(list[int]).decode


class Broker:
    """All that the rest of Queuey does with the store."""

    def __init__(self, shards: Shards, scripts: Scripts) -> None:
        self.shards = shards
        self.metrics = scripts.metrics
        """What this process counts, also that of those who use this broker."""
        self.scripts = scripts
        self._answered_at = [-math.inf] * shards.count

    async def _call(self, shard: int, name: str, *arguments: object, copies: int = 0) -> bytes:
        keys = self.shards.keys[shard].anchors
        try:
            client = self.shards.client_of(shard)
            reply = await self.scripts.call(client, name, keys, _encode(arguments), copies)
        except StoreUnavailable:
            self._answered_at[shard] = -math.inf
            raise
        self._answered_at[shard] = time.monotonic()
        return reply

    async def reachable(self, max_age: float = 1.0) -> bool:
        """Whether a script ran on every shard within the last `max_age` seconds, or runs now."""
        for shard, answered_at in enumerate(self._answered_at):
            if time.monotonic() - answered_at > max_age:
                try:
                    await self.get(shard, ())
                except QueueyError:
                    return False
        return True

    # --- a job's way -------------------------------------------------------------------------------------------

    async def enqueue(
        self, shard: int, jobs: Sequence[NewJob], *, full: bool = False, copies: int = 0, now: int = 0
    ) -> list[str]:
        """Per job `new`, `duplicate <holder id>`, `full` or `too_many_queues`. `full`: take no new job.

        `copies`: replicas of the store that must have it all; else it is StoreUnavailable, perhaps done."""
        return _words(await self._call(shard, "enqueue", now, full, jobs, copies > 0, copies=copies))

    async def claim(
        self,
        shard: int,
        *,
        claim_id: str,
        worker: str,
        lease_ms: int,
        limit: int,
        queues: Sequence[str],
        max_starve_ms: int = 300_000,
        suspects: int = 1,
        defer_ms: int = 1_000,
        now: int = 0,
    ) -> Claimed:
        """Up to `limit` jobs. `suspects`: how many jobs with crashes it may take, 0 or 1."""
        return _claimed(
            await self._call(
                shard,
                "claim",
                now,
                claim_id,
                worker,
                lease_ms,
                limit,
                queues,
                max_starve_ms,
                suspects,
                defer_ms,
                CLAIM_BYTES,
            )
        )

    async def extend(
        self, shard: int, lease_ms: int, held: Sequence[Held | tuple[str, str, int]], *, now: int = 0
    ) -> list[str]:
        """Each by the lease of its own, where it has a third part, else by `lease_ms`.

        Per job `ok`, `lost` or `cancelled` (flagged for cancel, extended all the same)."""
        return _words(await self._call(shard, "extend", now, lease_ms, held))

    async def complete(self, shard: int, results: Sequence[tuple[str, str, str]], *, now: int = 0) -> list[str]:
        """`results`: id, token, result as JSON on one line ('' = none). Per job `ok` or `lost`."""
        return _words(await self._call(shard, "complete", now, results))

    async def fail(self, shard: int, failures: Sequence[tuple[str, str, str, int, bool]], *, now: int = 0) -> list[str]:
        """`failures`: id, token, error as JSON on one line, delay in ms, dead at once.

        Per job `retry`, `dead`, `cancelled` or `lost`.
        """
        return _words(await self._call(shard, "fail", now, failures))

    async def emit(self, events: Sequence[str]) -> list[str]:
        """Per event `ok` or `nobody`. All go to shard 0, so that they have one order."""
        return _words(await self._call(0, "emit", EVENTS_KEPT, events))

    async def listen(self, ttl_ms: int) -> str:
        """`begun`, `kept` or, when ttl_ms is 0 and so only asked, `nobody`."""
        return _word(await self._call(0, "listen", ttl_ms, listening_channel(self.shards.prefix)))

    async def progress(
        self, shard: int, reports: Sequence[tuple[str, str, str]], ttl_ms: int = 3_600_000, *, now: int = 0
    ) -> list[str]:
        """`reports`: id, token, progress as JSON. Per job the head of its definition, or '' when the lease is lost."""
        return _words(await self._call(shard, "progress", now, ttl_ms, reports))

    async def release(self, shard: int, held: Sequence[Held | Unextended], *, now: int = 0) -> list[str]:
        """Per job `ok` or `lost`. The first comes to stand first in its lane."""
        return _words(await self._call(shard, "release", now, held))

    async def cancel(self, shard: int, job_ids: Sequence[str], *, now: int = 0) -> list[str]:
        """Per job `cancelled`, `cancelling`, `finished` or `missing`."""
        channel = cancel_channel(self.shards.prefix)
        return _words(await self._call(shard, "cancel", now, channel, job_ids))

    async def watch(self, shard: int, job_ids: Sequence[str]) -> list[str]:
        """Per job `waiting` (its end will be published), `finished` or `missing`."""
        return _words(await self._call(shard, "watch", *job_ids))

    async def replay(
        self, shard: int, replay_id: str, job_ids: Sequence[str], delays_ms: Sequence[int] = (), *, now: int = 0
    ) -> list[str]:
        """Each is due after its delay, at once without one. Per job `ok`, `duplicate` or `missing`."""
        words = _words(await self._call(shard, "replay", now, replay_id, job_ids, delays_ms))
        self.metrics.replayed.add((), words.count("ok"))
        return words

    async def edit(self, shard: int, job_id: str, body: str) -> str:
        """Another definition, as JSON, for a dead job: `ok`, `wrong_state` or `missing`."""
        return _word(await self._call(shard, "edit", job_id, body))

    async def hasten(self, shard: int, request_id: str, job_ids: Sequence[str], *, now: int = 0) -> list[str]:
        """Scheduled jobs are due now. Per job `ok`, `not_scheduled` or `missing`."""
        return _words(await self._call(shard, "hasten", now, request_id, job_ids))

    async def delete(self, shard: int, job_ids: Sequence[str], *, now: int = 0) -> list[str]:
        """Finished jobs are gone. Per job `ok`, `unfinished` or `missing`."""
        return _words(await self._call(shard, "delete", now, job_ids))

    # --- maintenance -------------------------------------------------------------------------------------------

    async def reap(self, shard: int, limit: int, delays_ms: Sequence[int], *, now: int = 0) -> Reaped:
        """Gives lapsed leases back; the delays are used in turn."""
        return _reaped(await self._call(shard, "reap", now, limit, delays_ms))

    async def promote(self, shard: int, limit: int, *, now: int = 0) -> Promoted:
        """Moves what is due to its lane, at most `limit` per lane."""
        return _promoted(await self._call(shard, "promote", now, limit))

    async def trim(self, shard: int, limit: int, caps: Caps, *, now: int = 0) -> Trimmed:
        """Removes at most `limit` jobs that need not be kept."""
        dead = (caps.dead_age_ms, caps.dead_count, caps.dead_bytes)
        finished = (caps.finished_count, caps.finished_bytes, caps.finished_min_age_ms)
        return _trimmed(await self._call(shard, "trim", now, limit, dead, finished))

    async def beat(
        self,
        shard: int,
        replica: str,
        description: str,
        stale_ms: int = STALE_MS,
        quiet_here: Sequence[str] = (),
        *,
        now: int = 0,
    ) -> Beat:
        """A sign of life; '' as the description says good-bye. `quiet_here`: workers here that are quiet already."""
        return _beat(await self._call(shard, "beat", now, replica, description, stale_ms, quiet_here))

    async def workers(self, shard: int, stale_ms: int = STALE_MS, *, now: int = 0) -> Replicas:
        """Who gave a sign of life within `stale_ms`."""
        return _replicas(await self._call(shard, "workers", now, stale_ms))

    async def quiet(self, shard: int, worker: str, *, now: int = 0) -> str:
        """A worker is to claim no more. `ok` or `too_many`."""
        return _word(await self._call(shard, "quiet", now, worker))

    # --- export and import -------------------------------------------------------------------------------------

    async def about(self, shard: int, *, now: int = 0) -> About:
        """What the store is, without joining it."""
        return _about(await self._call(shard, "about", now))

    async def scan(self, kind: ScanKind, cursor: int) -> tuple[int, list[tuple[int, str]]]:
        """Some names of all shards, (shard, name), and the next cursor; both begin and end with the cursor 0.

        What is there from the first call to the last is named at least once, as long as the store is not restarted."""
        pattern, parse = scan_names(self.shards.prefix, kind)
        try:
            following, names = await self.shards.client.scan(cursor, match=pattern, count=SCAN_COUNT)
        except (redis_errors.RedisError, OSError) as error:
            raise translate("SCAN", error) from error
        return int(following), [found for found in map(parse, cast(list[bytes], names)) if found]

    async def dump(self, shard: int, job_ids: Sequence[str], keys: Sequence[str] = (), *, now: int = 0) -> Dumped:
        """What restore takes, of those that are there."""
        return _dumped(await self._call(shard, "dump", now, job_ids, keys, CLAIM_BYTES))

    async def restore(
        self, shard: int, jobs: Sequence[DumpedJob], keys: Sequence[HeldKey] = (), *, now: int = 0
    ) -> tuple[list[str], list[str]]:
        """Per job `ok`, `there` or `too_many_queues`; per key `ok`, `there` or `past`."""
        return _two_lists(await self._call(shard, "restore", now, jobs, keys))

    async def arrange(self, shard: int, queue: str, lane: str, positions: Sequence[tuple[str, int]]) -> int:
        """Give restored jobs their order in a lane: ids with positions below 0. Returns how many there were."""
        return _numbers(await self._call(shard, "arrange", queue, lane, positions))[0]

    async def mark(self, shard: int, export_id: str, offset: int) -> int:
        """Note how many bytes of an export are in. Returns that."""
        return _numbers(await self._call(shard, "mark", export_id, offset))[0]

    # --- looking -----------------------------------------------------------------------------------------------

    async def get(self, shard: int, job_ids: Sequence[str]) -> list[StoredJob]:
        """What is stored of each job; an empty definition when there is none."""
        return _stored(await self._call(shard, "get", *job_ids))

    async def list(
        self, shard: int, place: Place, queue: str = "", lane: str = "", start: int = 0, count: int = 1000
    ) -> list[Listed]:
        """Ids in one place, first to last; `queue` '' means all queues, for running, dead and finished."""
        return _listed(await self._call(shard, "list", place, queue, lane, start, count))

    async def page(
        self,
        shard: int,
        places: Sequence[tuple[Place, str, str]],
        *,
        after: tuple[int, int, str] = (0, 0, ""),
        type: str = "",
        status: str = "",
        count: int = 50,
        look: int = 1000,
    ) -> Page:
        """Jobs of the places (place, queue, lane), one after the other.

        `after`: offset, score and id in the first place, of the entry that the page before ended with. `status`: a
        letter of the state. Looks at `look` entries and places at most.
        """
        return _page(await self._call(shard, "page", places, after, type, status, count, look))

    async def place(self, shard: int, queue: str, lane: str, job_id: str, *, look: int) -> Placed:
        """Where a job stands among the first `look` entries of a lane."""
        return _placed(await self._call(shard, "place", queue, lane, job_id, look))

    async def stats(self, shard: int, minutes: int = 0, *, now: int = 0) -> Stats:
        """How much is where on one shard, and its counters."""
        return _stats(await self._call(shard, "stats", now, minutes))

    async def vitals(self) -> Vitals:
        """How the store is. INFO and not CONFIG, which managed stores block."""
        try:
            info = await self.shards.client.info("server", "memory")
        except (redis_errors.RedisError, OSError) as error:
            raise translate("info", error) from error
        limit = info.get("maxmemory", 0)
        share = info["used_memory"] / limit if limit else 0.0
        return Vitals(str(info["run_id"]), int(info["uptime_in_seconds"]), share)

    async def replicas(self) -> int:
        """How many replicas of the store have all that it has. Raises StartupError when its user may not ask."""
        try:
            return int(await self.shards.client.link.call("WAIT", 0, 1))
        except (redis_errors.RedisError, OSError) as error:
            raise translate("WAIT", error) from error

    async def is_cluster(self) -> bool:
        """Whether the store refuses a call with keys of two slots."""
        try:
            info = await self.shards.client.info("cluster")
        except (redis_errors.RedisError, OSError) as error:
            raise translate("info", error) from error
        return bool(info.get("cluster_enabled", 0))

    async def close(self) -> None:
        """Close the connections."""
        await self.shards.client.aclose()

    # --- queues ------------------------------------------------------------------------------------------------

    async def pause(self, shard: int, queue: str, reason: str, by: str = "", *, now: int = 0) -> str:
        """`ok` or `too_many_queues`."""
        return _word(await self._call(shard, "pause", now, queue, reason, by))

    async def resume(self, shard: int, queue: str) -> str:
        """`ok` or `not_paused`."""
        return _word(await self._call(shard, "resume", queue))

    async def heads(self, shard: int, queues: Sequence[str], *, now: int = 0) -> Sequence[QueueHead]:
        """Who paused each queue, and since when its first job has been ready."""
        return _heads(await self._call(shard, "heads", now, queues))

    async def purge(
        self, shard: int, queue: str, *, queued: bool = True, scheduled: bool = True, limit: int = 500, now: int = 0
    ) -> Purged:
        """Cancel jobs that wait, at most `limit`."""
        return _purged(await self._call(shard, "purge", now, queue, queued, scheduled, limit))

    async def dead(
        self,
        shard: int,
        queues: Sequence[str],
        *,
        older_ms: int = 0,
        younger_ms: int = 0,
        after: tuple[int, str] = (0, ""),
        count: int = 500,
        now: int = 0,
    ) -> Dead:
        """Those behind a place (died at, id), of an age in these bounds; `younger_ms` 0: of any age."""
        return _dead(await self._call(shard, "dead", now, queues, (older_ms, younger_ms), after, count))

    # --- start-up ----------------------------------------------------------------------------------------------

    async def join(self) -> None:
        """Hold this replica's data format and count of shards against the store's. Raises StartupError."""
        store_id = ids.short_random()
        for shard in range(self.shards.count):
            data_format, count = _numbers(await self._call(shard, "join", DATA_FORMAT, self.shards.count, store_id))
            if count != self.shards.count:
                raise StartupError(
                    f"The store holds its jobs in {count} shards and this process asks for {self.shards.count}: "
                    f"start it with --shards {count}."
                )
            if data_format != DATA_FORMAT:
                raise StartupError(
                    f"The store's data has format {data_format} and this version of Queuey reads {DATA_FORMAT}: "
                    "start the version that wrote it."
                )

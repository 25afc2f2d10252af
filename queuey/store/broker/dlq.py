"""The scripts of lua/dlq/: the dead-letter queue."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from queuey.store.broker.calls import Group, words
from queuey.store.broker.moves import MOVES
from queuey.store.replies import Dead

_dead = msgspec.msgpack.Decoder(Dead).decode


class DeadLetterCalls(Group):
    """Lists and replays dead jobs."""

    async def list_dead(
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
        """List dead jobs after a place (died at, id), with an age in these bounds. `younger_ms` 0: no upper limit."""
        return _dead(await self._call(shard, "list_dead", now, queues, (older_ms, younger_ms), after, count))

    async def replay(
        self, shard: int, replay_id: str, job_ids: Sequence[str], delays_ms: Sequence[int] = (), *, now: int = 0
    ) -> list[str]:
        """Start a new run of each job, due after its delay. Replies with `ok`, `duplicate` or `missing` for each."""
        answers = words(await self._call(shard, "replay", now, replay_id, job_ids, delays_ms))
        if self._observer.on:
            self._moved(job_ids, answers, MOVES["replay"] if any(delays_ms) else {"ok": "queued"})
        return answers

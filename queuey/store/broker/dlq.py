"""Scripts of lua/dlq/: dead letters."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from queuey.store.broker.calls import Group, words
from queuey.store.broker.moves import MOVES
from queuey.store.replies import Dead

_dead = msgspec.msgpack.Decoder(Dead).decode


class DeadLetterCalls(Group):
    """Dead letters."""

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
        """Those behind a place (died at, id), of an age in these bounds; `younger_ms` 0: of any age."""
        return _dead(await self._call(shard, "list_dead", now, queues, (older_ms, younger_ms), after, count))

    async def replay(
        self, shard: int, replay_id: str, job_ids: Sequence[str], delays_ms: Sequence[int] = (), *, now: int = 0
    ) -> list[str]:
        """Each is due after its delay, at once without one. Per job `ok`, `duplicate` or `missing`."""
        answers = words(await self._call(shard, "replay", now, replay_id, job_ids, delays_ms))
        if self._observer.on:
            self._moved(job_ids, answers, MOVES["replay"] if any(delays_ms) else {"ok": "queued"})
        return answers

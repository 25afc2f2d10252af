"""Calls of scripts on a shard, and the parts that the groups of calls share."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from queuey.errors import ScriptFailed, StoreUnavailable
from queuey.protocol.models import Status
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards

DATA_FORMAT: Final = 1
"""The format of a store without features, and of an export."""
FEATURE_FORMAT: Final = 2
"""The format of a store that may hold keys of features. It is the newest format that this version reads."""
FEATURES: Final = ("aside", "schedules", "unique")
"""The features that this version knows. `aside`: lists of jobs that were set aside by type. `unique`: unique jobs."""
MAX_BATCH: Final = 512
"""Jobs in one call of a script."""
MAX_BYTES: Final = 1_000_000
"""Bytes of arguments in one call of a script."""
EVENTS_KEPT: Final = 10_000
"""The stream keeps about this many events."""
CLAIM_BYTES: Final = 4_000_000
"""A claim stops after the definition that exceeds this, and a list of schedules after the record that does."""
LOG_TTL_MS: Final = 400 * 24 * 3_600_000
"""The lines of a job are deleted with it. An older version does not know them, and leaves them behind for this long:
a job may wait for a year and be kept for a year."""
STALE_MS: Final = 60_000
"""A replica without a heartbeat for this long is forgotten."""
SETTLE_MS: Final = STALE_MS
"""This long after the data format was raised, a replica that had started before has sent its first heartbeat."""

Held = tuple[str, str]
"""A job's id and the token of its lease."""
Unextended = tuple[str, str, int]
"""A job's id, the token of its lease and the ms of its claim. It is released only if its lease was not extended."""
SetAside = tuple[str, str, int | None, str]
"""A job's id, the token of its lease, the ms of its claim or None, and its type, which the worker does not know."""

_encode = msgspec.msgpack.Encoder().encode
words = msgspec.msgpack.Decoder(list[str]).decode
"""Decodes a reply with one status word a job."""
word = msgspec.msgpack.Decoder(str).decode
numbers = msgspec.msgpack.Decoder(list[int]).decode


def divide(answers: Sequence[str], counts: Sequence[int]) -> list[Sequence[str]]:
    """Divide the answers to all jobs of a call among its items, which have `counts` jobs. Raises ScriptFailed."""
    if len(answers) != sum(counts):
        raise ScriptFailed(f"The store gave {len(answers)} answers to {sum(counts)} jobs.")
    divided, first = [], 0
    for count in counts:
        divided.append(answers[first : first + count])
        first += count
    return divided


class Observer(Protocol):
    """Gets a report of each job that a call moved. A call that was sent again reports its moves again."""

    on: bool
    """Whether a subscriber listens. If not, a call costs only this check."""

    def status(self, job_id: str, type: str, queue: str, status: Status, attempt: int) -> None:
        """Take a move of a job whose type and queue are known from the call."""

    def moved(self, job_id: str, status: Status | None) -> None:
        """Take a move of a job that is known only by its id. `status` is None if its new status is not known."""


class Nobody:
    """Takes no reports: the observer of a Broker without one."""

    on = False

    def status(self, job_id: str, type: str, queue: str, status: Status, attempt: int) -> None: ...

    def moved(self, job_id: str, status: Status | None) -> None: ...


class Caller:
    """Calls scripts by name on a shard, and remembers when each shard last answered."""

    def __init__(self, shards: Shards, scripts: Scripts, observer: Observer) -> None:
        self.observer = observer
        self.shards = shards
        self.scripts = scripts
        self.answered_at = [-math.inf] * shards.count
        """The time of each shard's last reply, by time.monotonic()."""
        self.silent: set[int] = set()
        """The shards whose last call got no reply."""

    async def call(self, shard: int, name: str, *arguments: object, copies: int = 0) -> bytes:
        """Call a script and return its reply. Raises StoreUnavailable, Full or ScriptFailed."""
        keys = self.shards.keys[shard].anchors
        try:
            client = self.shards.client_of(shard)
            reply = await self.scripts.call(client, name, keys, _encode(arguments), copies)
        except StoreUnavailable as error:
            self.answered_at[shard] = -math.inf
            self.silent.add(shard)
            if self.shards.count == 1:
                raise
            text = f"Shard {shard} of the store: {error.message}"
            raise StoreUnavailable(text, error.retry_after, maybe_done=error.maybe_done, shard=shard) from error
        self.answered_at[shard] = time.monotonic()
        if self.silent:
            self.silent.discard(shard)
        return reply


class Group:
    """Calls the scripts of one folder of lua/ by one method each, which has the script's name."""

    def __init__(self, caller: Caller) -> None:
        self._call = caller.call
        self._shards = caller.shards
        self._observer = caller.observer

    def _moved(self, job_ids: Sequence[str], answers: Sequence[str], statuses: Mapping[str, Status | None]) -> None:
        """Report each job whose answer is in `statuses`, which is an entry of moves.MOVES."""
        for job_id, answer in zip(job_ids, answers, strict=True):
            if answer in statuses:
                self._observer.moved(job_id, statuses[answer])

"""Every key name in the store, spelled once.

All keys of a shard bear one hash tag, so that one script may touch any of them on a Cluster too.
The scripts derive theirs from the shard's base key, with the names of lua/include/keys.lua; the contract
tests hold the two spellings together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal

ScanKind = Literal["job", "dedupe"]
DEFAULT_PREFIX: Final = "queuey"


class ShardKeys:
    """The names of one shard's keys. `base` itself is never created."""

    __slots__ = ("anchors", "base", "meta", "shard")

    def __init__(self, shard: int, prefix: str = DEFAULT_PREFIX) -> None:
        self.shard = shard
        self.base = f"{prefix}:{{{shard}}}:"
        self.anchors = (self.base, self.base + "!")
        """Two keys of the shard's slot, named in every call. During a slot migration neither node runs a
        script whose two keys are both absent, where it would run one with a single key (design, section 4)."""
        self.meta = self.base + "meta"

    def job(self, job_id: str) -> str:
        return f"{self.base}job:{job_id}"

    def state(self, job_id: str) -> str:
        return f"{self.base}state:{job_id}"

    def ready(self, queue: str, priority: str) -> str:
        return f"{self.base}ready:{queue}:{priority}"

    def scheduled(self, queue: str, priority: str) -> str:
        return f"{self.base}scheduled:{queue}:{priority}"

    def leases(self, queue: str) -> str:
        return f"{self.base}leases:{queue}"

    def dead(self, queue: str) -> str:
        return f"{self.base}dead:{queue}"

    def done(self, queue: str) -> str:
        return f"{self.base}done:{queue}"

    def dedupe(self, encoded_key: str) -> str:
        return f"{self.base}dedupe:{encoded_key}"

    def progress(self, job_id: str) -> str:
        return f"{self.base}progress:{job_id}"

    def claim(self, claim_id: str) -> str:
        return f"{self.base}claim:{claim_id}"

    def queue(self, queue: str) -> str:
        return f"{self.base}queue:{queue}"

    def wake(self, queue: str) -> str:
        return f"{self.base}wake:{queue}"

    def selftest(self, type_name: str) -> str:
        return f"{self.base}selftest:{type_name}"

    @property
    def queues(self) -> str:
        return self.base + "queues"

    @property
    def workers(self) -> str:
        return self.base + "workers"

    @property
    def copied(self) -> str:
        """Written for no other reason than that replicas are waited for to have it."""
        return self.base + "copied"

    @property
    def quiet(self) -> str:
        return self.base + "quiet"

    @property
    def events(self) -> str:
        """Used on shard 0 alone, so that all events have one order."""
        return self.base + "events"

    @property
    def listening(self) -> str:
        return self.base + "listening"

    @property
    def stats(self) -> str:
        return self.base + "stats"

    def stats_minute(self, minute: int) -> str:
        return f"{self.base}stats:{minute}"


def cancel_channel(prefix: str = DEFAULT_PREFIX) -> str:
    """The channel on which the cancel script names running jobs that were flagged."""
    return f"{prefix}:cancel"


def scan_names(prefix: str, kind: ScanKind) -> tuple[str, Callable[[bytes], tuple[int, str] | None]]:
    """A pattern for SCAN that finds the definitions or the dedupe keys of all shards; and what makes (shard, job id or
    dedupe key as it stands there) of a name that it found, or None of one that only looks like it."""
    exact = re.compile(rf"{re.escape(prefix)}:\{{(\d+)\}}:{kind}:((?:i:)?[A-Za-z0-9_-]+)".encode())

    def parse(name: bytes) -> tuple[int, str] | None:
        match = exact.fullmatch(name)
        return (int(match[1]), match[2].decode()) if match else None

    return f"{prefix}:{{*}}:{kind}:*", parse


def finished_channel(prefix: str = DEFAULT_PREFIX) -> str:
    """The channel on which scripts name jobs that have ended and that somebody waits for."""
    return f"{prefix}:finished"


def listening_channel(prefix: str = DEFAULT_PREFIX) -> str:
    """The channel on which it is said, again and again, that somebody follows the events."""
    return f"{prefix}:listening"


def channels(prefix: str = DEFAULT_PREFIX) -> tuple[str, ...]:
    """Every channel."""
    return (cancel_channel(prefix), finished_channel(prefix), listening_channel(prefix))


def poke_key(shard: ShardKeys, replica: str) -> str:
    """What wakes one replica, so that it waits for other queues from then on. No script knows it."""
    return f"{shard.base}poke:{replica}"

"""Every key name in the store, defined once.

All keys of a shard have one hash tag, so that one script may use any of them on a Cluster too. The scripts build theirs
from the shard's base key, with the names in lua/include/keys.lua; the contract tests compare the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal

ScanKind = Literal["job", "dedupe", "aside"]
DEFAULT_PREFIX: Final = "queuey"


class ShardKeys:
    """The names of one shard's keys. `base` itself is never created."""

    __slots__ = ("anchors", "base", "meta", "shard")

    def __init__(self, shard: int, prefix: str = DEFAULT_PREFIX) -> None:
        self.shard = shard
        self.base = f"{prefix}:{{{shard}}}:"
        self.anchors = (self.base, self.base + "!")
        """Two keys of the shard's slot, named in every call. During a slot migration, no node runs a
        script whose two keys are both missing, but it would run one whose only key is missing."""
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

    def log(self, job_id: str) -> str:
        return f"{self.base}log:{job_id}"

    def claim(self, claim_id: str) -> str:
        return f"{self.base}claim:{claim_id}"

    def queue(self, queue: str) -> str:
        return f"{self.base}queue:{queue}"

    def alone(self, worker: str) -> str:
        """Return the key of the suspect that a worker runs by itself."""
        return f"{self.base}alone:{worker}"

    def wake(self, queue: str) -> str:
        return f"{self.base}wake:{queue}"

    def aside(self, queue: str, priority: str, type_name: str) -> str:
        """Return the key of the list of waiting jobs of one type that was set aside from a lane."""
        return f"{self.base}aside:{queue}:{priority}:{type_name}"

    def wake_type(self, queue: str, type_name: str) -> str:
        """Return the key of the marker for the lists of one type that were set aside."""
        return f"{self.base}wake:{queue}:{type_name}"

    def selftest(self, type_name: str) -> str:
        return f"{self.base}selftest:{type_name}"

    def schedule(self, name: str) -> str:
        return f"{self.base}schedule:{name}"

    def runs(self, name: str) -> str:
        """Return the key of the history of a schedule."""
        return f"{self.base}runs:{name}"

    def batch(self, name: str) -> str:
        """Return the key with the open batch of this name: `queue:priority:type:key`, the key as base64url."""
        return f"{self.base}batch:{name}"

    @property
    def schedule_names(self) -> str:
        return self.base + "schedule_names"

    @property
    def ticks(self) -> str:
        """The key with the next tick of each schedule that is neither paused nor ended."""
        return self.base + "ticks"

    @property
    def waiting_ticks(self) -> str:
        """The key with the schedules of which a tick waits for the end of the last job."""
        return self.base + "waiting_ticks"

    @property
    def queues(self) -> str:
        return self.base + "queues"

    @property
    def workers(self) -> str:
        return self.base + "workers"

    @property
    def copied(self) -> str:
        """The key that `enqueue` writes if it has no other write for which WAIT could wait."""
        return self.base + "copied"

    @property
    def quiet(self) -> str:
        return self.base + "quiet"

    @property
    def events(self) -> str:
        """The stream of events. Only shard 0 has it, so that all events have one order."""
        return self.base + "events"

    @property
    def listening(self) -> str:
        return self.base + "listening"

    @property
    def audit(self) -> str:
        """The stream with the audit log. Only shard 0 has it, so that all entries have one order."""
        return self.base + "audit"

    @property
    def stats(self) -> str:
        return self.base + "stats"

    def stats_minute(self, minute: int) -> str:
        return f"{self.base}stats:{minute}"


def cancel_channel(prefix: str = DEFAULT_PREFIX) -> str:
    """Return the channel on which the cancel script names running jobs whose cancellation was requested."""
    return f"{prefix}:cancel"


def scan_names(prefix: str, kind: ScanKind) -> tuple[str, Callable[[bytes], tuple[int, str] | None]]:
    """Return a pattern for SCAN that finds keys of one kind of all shards, and a parser of their names.

    The parser returns (shard, job id or encoded dedupe key or `queue:priority:type`), or None for another name that
    fits the pattern."""
    name = r"[\w.-]+:[a-z]+:(?:[\w.-]+|[*!])" if kind == "aside" else "(?:[iu]:)?[A-Za-z0-9_-]+"
    exact = re.compile(rf"{re.escape(prefix)}:\{{(\d+)\}}:{kind}:({name})".encode())

    def parse(name: bytes) -> tuple[int, str] | None:
        match = exact.fullmatch(name)
        return (int(match[1]), match[2].decode()) if match else None

    return f"{prefix}:{{*}}:{kind}:*", parse


def finished_channel(prefix: str = DEFAULT_PREFIX) -> str:
    """Return the channel on which scripts name finished jobs that a client waits for."""
    return f"{prefix}:finished"


def listening_channel(prefix: str = DEFAULT_PREFIX) -> str:
    """Return the channel with regular messages that a client follows the events."""
    return f"{prefix}:listening"


def asides_channel(prefix: str = DEFAULT_PREFIX) -> str:
    """Return the channel with the names of the lists that were set aside, each time that there is a new one."""
    return f"{prefix}:asides"


def ticks_channel(prefix: str = DEFAULT_PREFIX) -> str:
    """Return the channel on which it is announced that a schedule has an earlier tick."""
    return f"{prefix}:ticks"


def channels(prefix: str = DEFAULT_PREFIX) -> tuple[str, ...]:
    """Return every channel."""
    own = cancel_channel, finished_channel, listening_channel, asides_channel, ticks_channel
    return tuple(channel(prefix) for channel in own)


def poke_key(shard: ShardKeys, replica: str) -> str:
    """Return the key that wakes one replica, so that it waits for other queues from then on. No script uses it."""
    return f"{shard.base}poke:{replica}"

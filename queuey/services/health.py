"""The health of this process: the answers of /healthz and /readyz."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, Literal

from queuey.errors import QueueyError
from queuey.lifecycle import TimeLimit
from queuey.store.broker.broker import Broker

Durability = Literal["verified", "declared", "memory only"]

FRESH: Final = 1.0
"""Seconds for which the store counts as up after an answer."""
PROBE_SECONDS: Final = 1.5
"""Seconds after which a store that has not answered counts as down."""


class Health:
    """The health of this process.

    `draining` is set when it begins to stop. `durability`: how safe an acknowledged job is.
    """

    def __init__(self, broker: Broker, durability: Durability) -> None:
        self.draining = False
        self.durability = durability
        self.note: Callable[[], str] = lambda: ""
        """Returns what a person should look at although requests may come here; '' if there is nothing."""
        self.store_note = ""
        """The same, about the settings of the store."""
        self._broker = broker
        self._probes: dict[int, asyncio.Task[bool]] = {}
        """The last probe of each shard."""

    async def store_up(self) -> bool:
        """Return whether a script ran on a shard recently."""
        return len(await self.silent_shards()) < self._broker.shards.count

    async def ready(self) -> tuple[bool, dict[str, object]]:
        """Return whether to send requests here, and the body of /readyz.

        A replica is ready while one shard answers. Otherwise one silent shard would take every replica out of its load
        balancer, and all jobs would stop.
        """
        silent = await self.silent_shards()
        up = len(silent) < self._broker.shards.count
        status = "draining" if self.draining else "ready" if up else "store down"
        body: dict[str, object] = {"status": status, "redis": "up" if up else "down", "durability": self.durability}
        if note := " ".join(filter(None, (self.note(), self.store_note))):
            body["note"] = note
        if silent and up:
            body["silent_shards"] = silent
        return status == "ready", body

    async def silent_shards(self) -> list[int]:
        """Return the shards on which no script ran recently, nor within PROBE_SECONDS. Callers share probes.

        A shard that did not answer before is not waited for if another one answers.
        """
        shards, broker = range(self._broker.shards.count), self._broker
        up = {shard for shard in shards if broker.has_answered(shard, FRESH)}
        probes = {shard: self._probe(shard) for shard in shards if shard not in up}
        until = asyncio.get_running_loop().time() + PROBE_SECONDS
        await _settled([probe for shard, probe in probes.items() if shard not in broker.silent], until)
        up |= _true(probes)
        if not up:
            await _settled(probes.values(), until)
            up |= _true(probes)
        return [shard for shard in shards if shard not in up]

    def _probe(self, shard: int) -> asyncio.Task[bool]:
        probe = self._probes.get(shard)
        if probe is None or probe.done():
            probe = self._probes[shard] = asyncio.create_task(self._ask(shard))
        return probe

    async def _ask(self, shard: int) -> bool:
        try:
            await self._broker.ask(shard)
        except QueueyError:
            return False
        return True


async def _settled(probes: Iterable[asyncio.Task[bool]], until: float) -> None:
    """Wait until these probes have ended, or the time of the event loop has come."""
    if waiting := list(probes):
        with suppress(TimeoutError):
            async with TimeLimit(until):
                await asyncio.wait(waiting)


def _true(probes: Mapping[int, asyncio.Task[bool]]) -> set[int]:
    return {shard for shard, probe in probes.items() if probe.done() and not probe.cancelled() and probe.result()}

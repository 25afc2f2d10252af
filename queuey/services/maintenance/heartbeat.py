"""The heartbeat: registers this replica and its workers in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from queuey import log
from queuey.services.maintenance.feature_gate import FeatureGate
from queuey.store.broker.broker import Broker
from queuey.store.broker.replicas import refuse_misfit

logger = log.get(__name__)


async def introduce(broker: Broker, replica: str, description: object) -> None:
    """Send the first heartbeat of a replica, before it touches a job: others must know which features it knows.

    Raises CannotRunHere if the store has a feature in use that it does not know, or another number of shards."""
    beat = await broker.replicas.heartbeat(0, replica, msgspec.json.encode(description).decode())
    refuse_misfit(beat, broker.shards.count)


class Heartbeat:
    """Reports to the store that this replica is alive.

    `describe` returns a JSON-encodable description of the replica. `quiet_here` returns the keys of the quieted workers
    of this replica; `on_quiet` is called with the keys of all workers that must be quiet, in any replica. `gate` opens
    the features that all replicas know.
    """

    def __init__(
        self,
        broker: Broker,
        worker_id: str,
        describe: Callable[[], object],
        interval: float,
        quiet_here: Callable[[], Sequence[str]] = tuple,
        on_quiet: Callable[[Sequence[str]], None] = lambda _: None,
        gate: FeatureGate | None = None,
    ) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._describe = describe
        self._interval = interval
        self._quiet_here = quiet_here
        self._on_quiet = on_quiet
        self._gate = gate
        self._registered = True

    async def run_once(self) -> float:
        """Send one heartbeat to the first shard. Raises CannotRunHere: this replica must stop."""
        description = msgspec.json.encode(self._describe()).decode()
        answer = await self._broker.replicas.heartbeat(0, self._worker_id, description, quiet_here=self._quiet_here())
        refuse_misfit(answer, self._broker.shards.count)
        await self._register_again(answer.shards)
        self._on_quiet(answer.quiet)
        if self._gate is not None:
            await self._gate.drive(answer)
        return self._interval

    async def _register_again(self, shards: int) -> None:
        """Write what a start writes, on every shard, if the store was emptied. The next heartbeat tries again."""
        if shards and self._registered:
            return
        if self._registered:
            logger.warning(
                "store_emptied", advice="Its jobs are gone: find out who ran FLUSHALL, or set appendonly to yes."
            )
        self._registered = False
        await self._broker.replicas.register()
        self._registered = True

    async def leave(self) -> None:
        """Remove this replica from the store, at the end of the process."""
        await self._broker.replicas.heartbeat(0, self._worker_id, "")

"""The heartbeat: registers this replica and its workers in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from queuey.store.broker.broker import Broker


class Heartbeat:
    """Reports to the store that this replica is alive.

    `describe` returns a JSON-encodable description of the replica. `quiet_here` returns the keys of the quieted workers
    of this replica; `on_quiet` is called with the keys of all workers that must be quiet, in any replica.
    """

    def __init__(
        self,
        broker: Broker,
        worker_id: str,
        describe: Callable[[], object],
        interval: float,
        quiet_here: Callable[[], Sequence[str]] = tuple,
        on_quiet: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._describe = describe
        self._interval = interval
        self._quiet_here = quiet_here
        self._on_quiet = on_quiet

    async def run_once(self) -> float:
        """Send one heartbeat to the first shard."""
        description = msgspec.json.encode(self._describe()).decode()
        answer = await self._broker.replicas.heartbeat(0, self._worker_id, description, quiet_here=self._quiet_here())
        self._on_quiet(answer.quiet)
        return self._interval

    async def leave(self) -> None:
        """Remove this replica from the store, at the end of the process."""
        await self._broker.replicas.heartbeat(0, self._worker_id, "")

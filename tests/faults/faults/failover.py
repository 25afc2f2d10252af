"""Failover to a replica that lags behind: what an external store with asynchronous replication may do to its users."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Final

from redis.exceptions import RedisError

from queuey.store.connections.pipelined import connect
from queuey.store.embedded.unix_socket import SOCKET_NAME
from tests.faults.evidence.invariants import Evidence
from tests.faults.evidence.ledger import Event, now
from tests.faults.faults.base import Fault, forgotten
from tests.faults.load.calls import Caller
from tests.faults.store.external import ExternalStore
from tests.faults.system.rig import Rig, Setup
from tests.support.store import free_port

PATIENCE: Final = 15.0
POLL: Final = 0.01
HOST: Final = "127.0.0.1"


def _listening(port: int) -> list[str]:
    return ["--port", str(port), "--bind", HOST, "--repl-diskless-sync-delay", "0"]


class Replica:
    """A replica of the store that listens on `port`, in `folder`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.socket = folder / "second" / SOCKET_NAME
        arguments = [*_listening(free_port()), "--replicaof", HOST, str(port)]
        self._store = ExternalStore(Setup(folder, data_dir=self.socket.parent, store_arguments=arguments))
        self._client: Any = connect(f"unix://{self.socket}", timeout=5.0, max_connections=1)

    async def start(self) -> None:
        """Returns once it has a copy and follows. Raises TimeoutError."""
        await self._store.start()
        async with asyncio.timeout(PATIENCE):
            while await self._link() != "up":  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(POLL)

    async def _link(self) -> str:
        with suppress(RedisError):
            return str((await self._client.info("replication"))["master_link_status"])
        return "down"

    async def until_at(self, offset: int) -> None:
        """Wait until it has all that its primary had written when it was there. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while (await self._client.info("replication"))["slave_repl_offset"] < offset:  # noqa: ASYNC110 - as above
                await asyncio.sleep(POLL)

    async def part(self) -> None:
        """Hear no more of the primary, and stay a replica."""
        await self._client.replicaof(HOST, str(free_port()))  # where nobody listens

    async def promote(self) -> None:
        await self._client.replicaof("NO", "ONE")

    async def refused(self) -> int:
        """How many commands it has answered READONLY."""
        stats = await self._client.info("errorstats")
        return int(stats.get("errorstat_READONLY", {}).get("count", 0))

    async def stop(self) -> None:
        await self._client.aclose()
        await self._store.stop()


class Failover(Fault):
    """The link between the store and its replica fails; the store is killed; everyone is sent to the replica, which
    answers READONLY until it is promoted.

    What only the first store knew is gone, as those who use such a store are told. So what was answered in that time is
    read as unknown, and its jobs count as forgotten and not as lost. The new store gives out claim numbers that the old
    one had given out since, so 4 is waived. All other invariants hold.
    """

    name = "failover"
    waived: ClassVar[frozenset[int]] = frozenset({4})

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = rng.uniform(0.5, 2.0)
        self._parted_at = 0
        self._promoted_at = 0
        self._refused = 0
        self._replica: Replica | None = None

    def prepare(self, setup: Setup) -> None:
        setup.external = True
        self._port = free_port()
        setup.store_arguments += _listening(self._port)

    async def inject(self, rig: Rig, caller: Caller) -> str:
        self._replica = Replica(rig.setup.folder, self._port)
        await self._replica.start()
        self._parted_at = now()  # what is answered from here on may be behind the offset
        offset = (await rig.store.info("replication"))["master_repl_offset"]
        await self._replica.until_at(offset)
        await self._replica.part()
        lag = self.rng.uniform(0.2, 1.0)
        await asyncio.sleep(lag)
        pid = await rig.kill_store()
        socket = rig.setup.store_folder / SOCKET_NAME
        socket.unlink()
        socket.symlink_to(self._replica.socket)
        return f"pid {pid}, its replica {lag:.1f} s behind, READONLY for {self.hold:.1f} s"

    async def heal(self, rig: Rig) -> None:
        if self._replica is not None:
            self._refused = await self._replica.refused()
            self._promoted_at = now()
            await self._replica.promote()

    def revise(self, events: Sequence[Event]) -> Sequence[Event]:
        return forgotten(events, self._parted_at, self._promoted_at)

    def expect(self, evidence: Evidence) -> Iterator[str]:
        if not self._refused:
            yield "nobody was answered READONLY"

    async def clean_up(self) -> None:
        if self._replica is not None:
            await self._replica.stop()

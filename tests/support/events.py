"""A broker that publishes events, and what tests of events do beside reading them."""

from __future__ import annotations

from typing import Any

from queuey.services.events.publisher import EventPublisher
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from tests.support.store import Rig
from tests.support.working import eventually


def observed(rig: Rig, scripts: Any = None) -> Broker:
    """Make a broker that publishes the moves of its jobs, and give it to `rig` too."""
    shards, scripts = Shards(rig.client, rig.broker.shards.count), scripts or rig.scripts
    rig.broker = Broker(shards, scripts, EventPublisher(Broker(shards, scripts)))
    return rig.broker


async def finish(rig: Rig) -> str:
    """Complete the next job, and return its id."""
    (job,) = (await rig.claim(now=0)).jobs
    await rig.broker.leases.complete(rig.shard, [(job.id, job.token, "")])
    return job.id


async def connection_of_reader(rig: Rig) -> str:
    """Return the id of the connection that waits for events."""
    found: list[str] = []

    async def waits() -> bool:
        found[:] = [client["id"] for client in await rig.client.client_list() if "b" in client["flags"]]
        return bool(found)

    await eventually(waits)
    return found[0]

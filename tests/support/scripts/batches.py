"""Short ways to say what the tests of batches of items say often."""

from __future__ import annotations

from typing import Any

import msgspec

from queuey.protocol import ids
from queuey.protocol.records import parse_definition
from queuey.protocol.stored.items import NewItem, batch_name, open_body
from queuey.store.broker.jobs import Added
from tests.support.store import NOW, SECOND, Rig

WAIT = 5 * SECOND
REMEMBER = 3_600_000


class Items:
    """Batches of the rig's shard. Everything is about one batch and happens at NOW unless a test says otherwise."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def item(
        self,
        value: Any = 1,
        *,
        id: str | None = None,
        key: str = "k",
        type: str = "t",
        queue: str = "default",
        priority: Any = "default",
        max_items: int = 3,
        wait_ms: int = WAIT,
        **head: Any,
    ) -> NewItem:
        """An item with a value as its payload. `head` as for Rig.job."""
        job = self.rig.job(queue=queue, priority=priority, body=open_body(f'{{"type":"{type}"}}', key), **head)
        payload = msgspec.json.encode(value).decode()
        name = batch_name(queue, priority, type, key)
        return NewItem(name, id or ids.new_id(), payload, REMEMBER, max_items, wait_ms, job)

    async def send(self, *items: NewItem, now: int = NOW, **options: Any) -> list[Added]:
        """Add the items in one call."""
        return await self.rig.broker.batches.add_items(self.rig.shard, items, now=now, **options)

    async def add(self, *values: Any, now: int = NOW, **fields: Any) -> str:
        """Add items with these values, each in a call of its own, to one job. Returns its id."""
        jobs = set()
        for value in values:
            (added,) = await self.send(self.item(value, **fields), now=now)
            jobs.add(added.job_id)
        (job_id,) = jobs
        return job_id

    async def payload(self, job_id: str) -> Any:
        """The items of a job."""
        return msgspec.json.decode(parse_definition((await self.rig.stored(job_id)).definition)[1].payload)

    async def open_batches(self) -> dict[str, str]:
        """The open batches: each name with what the store has of it."""
        names = [name for name in await self.rig.names() if name.startswith("batch:")]
        return {
            name.removeprefix("batch:"): (await self.rig.client.get(self.rig.keys.base + name)).decode()
            for name in names
        }

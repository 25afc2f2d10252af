"""Lists set aside: what the tests of several scripts make of them, and how they look at them."""

from __future__ import annotations

from typing import Any

from queuey.store.asides import Room
from queuey.store.replies import Claimed
from tests.support.store import Rig


async def add_types(rig: Rig, types: str, **fields: Any) -> list[str]:
    """Enqueue a job of each of these types, which have a letter each. Returns their ids."""
    return [(await rig.add(body=f'{{"type":"{name}"}}', **fields))[0] for name in types]


async def set_aside(rig: Rig, types: str, **fields: Any) -> list[str]:
    """Enqueue jobs, and set them aside by the claim of a worker that knows none of them."""
    await rig.open_gate()
    added = await add_types(rig, types, **fields)
    queues = [str(fields.get("queue", "default"))]
    assert not (await rig.claim_typed(room=[Room(1, ["none"])], others=False, queues=queues)).jobs
    return added


async def aside(rig: Rig, type_name: str, priority: str = "default", queue: str = "default") -> list[str]:
    """A list set aside, from head to tail."""
    return await rig.set_aside_list(type_name, queue=queue, lane=priority)


async def names(rig: Rig, queue: str = "default") -> str | None:
    """The names of a queue, as it has them."""
    field = await rig.client.hget(rig.keys.queue(queue), "aside")
    return None if field is None else field.decode()


async def type_marked(rig: Rig, type_name: str, queue: str = "default") -> bool:
    """Whether the marker of a type is there; it is taken away, as a replica does."""
    return bool(await rig.client.zpopmin(rig.keys.wake_type(queue, type_name)))


def ids(claimed: Claimed) -> list[str]:
    """The ids of the jobs of a claim."""
    return [job.id for job in claimed.jobs]

"""Export and import of a store with batches of items: the jobs come along, and so does what remembers their items."""

from __future__ import annotations

from pathlib import Path

from queuey.protocol.stored.items import MAX_BATCH_BYTES
from queuey.services.transfer.exporter import Exporter
from queuey.services.transfer.file_format import LINE_LIMIT, read_whole
from queuey.services.transfer.importer import Importer
from queuey.store.broker.broker import Broker
from queuey.store.broker.jobs import Added
from queuey.store.shards import Shards
from tests.support.moving import all_jobs, ignore
from tests.support.scripts.batches import Items
from tests.support.store import Rig


async def moved(rig: Rig, file: Path, shards: int) -> Broker:
    await rig.broker.replicas.register()
    await Exporter(rig.broker, file, ignore).run(resume=False)
    store = Broker(Shards(rig.client, shards, "target"), rig.scripts)
    await Importer(store, file, read_whole(file), ignore).run(merge=False)
    return store


async def test_an_item_is_known_in_the_new_store_and_the_next_one_opens_a_batch(rig: Rig, tmp_path: Path) -> None:
    items = Items(rig)
    sent = items.item(1)
    (opened,) = await items.send(sent, now=0)
    store = await moved(rig, tmp_path / "store.ndjson", 3)
    shard = store.shards.of_job(opened.job_id)
    new = items.item(2)
    new.job.id = opened.job_id[:2] + new.job.id[2:]
    again, other = await store.batches.add_items(shard, [sent, new])
    assert again == Added("there", opened.job_id, 0)
    assert other.answer == "opened"
    job = (await all_jobs(store))[opened.job_id]
    assert (job.place, job.definition.endswith('"payload":[1]}')) == ("scheduled", True)


async def test_a_line_has_room_for_the_largest_batch(rig: Rig, tmp_path: Path) -> None:
    """Each of its characters is escaped."""
    items = Items(rig)
    added = [(await items.send(items.item('"' * 200_000, max_items=100), now=0))[0] for _ in range(10)]
    assert added[8].job_id == added[0].job_id
    size = len((await rig.stored(added[0].job_id)).definition)
    assert 0.8 * MAX_BATCH_BYTES < size <= MAX_BATCH_BYTES
    file = tmp_path / "store.ndjson"
    store = await moved(rig, file, 1)
    longest = max(map(len, file.read_bytes().split(b"\n")))
    assert 2 * size < longest < LINE_LIMIT - 2 * 900_000, "a result comes beside it"
    assert added[0].job_id in await all_jobs(store)

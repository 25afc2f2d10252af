"""A file that the first version with an export wrote is read by every later one."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuey.protocol.records import decode_key, to_job
from queuey.services.transfer.file_format import read_whole
from queuey.services.transfer.importer import Importer
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import DATA_FORMAT
from queuey.store.shards import Shards
from tests.support.moving import all_keys, ignore, lanes
from tests.support.store import Rig
from tests.support.stores import KINDS, SHARDS, one_of

kind = one_of(*KINDS)
shards = one_of(*SHARDS)

FOLDER = Path(__file__).parents[2] / "fixtures"
FILE = FOLDER / "export-1.ndjson"

FIRST, SECOND, THIRD = (
    "FX01M86XA2P36HASQZ19JJEJT08G",
    "FZ01M86XA2P4AZ9MXYH3TQY3HMS5",
    "G301M86XA2P4WBZ8W2MGF12F30JA",
)
RETRY = "FN01M86XA2P0XMX71R0MAVCPPYYN"
RUNNING = "FQ01M86XA2P00QBS93RSE9FZ2KFR"
KEYED = "FV01M86XA2P3KH86XMXH15J0GJG0"
STATUSES = {
    "FH01M86XA2NZSYP1VYEBA7QRXM8E": "succeeded",
    "FK01M86XA2NZE5BN2SESBP9Q1387": "dead_letter",
    RETRY: "queued",
    RUNNING: "queued",
    "FS01M86XA2P0CFE68JRW89JXCEN5": "cancelled",
    KEYED: "queued",
    FIRST: "queued",
    SECOND: "queued",
    "G101M86XA2P4XWCG1WZDQ6KNZ1FV": "cancelled",
    THIRD: "queued",
    "G501M86XA2P4QVJG378C5B3GGJP7": "scheduled",
}


def test_each_format_has_its_fixture() -> None:
    """A change of the format keeps the older files, and adds one of its own."""
    assert [path.name for path in sorted(FOLDER.glob("export-*.ndjson"))] == [
        f"export-{number}.ndjson" for number in range(1, DATA_FORMAT + 1)
    ]


@pytest.mark.parametrize("spread", [1, 2, 3])
async def test_it_is_read(rig: Rig, spread: int) -> None:
    broker = Broker(Shards(rig.client, spread, "target"), rig.scripts)
    result = await Importer(broker, FILE, read_whole(FILE), ignore).run(merge=False)
    assert result == {"restored": len(STATUSES), "there": 0}
    found = {}
    for job_id in STATUSES:
        (stored,) = await broker.jobs.get(broker.shards.of_job(job_id), [job_id])
        found[job_id] = to_job(job_id, stored)
    assert {job_id: job.status for job_id, job in found.items()} == STATUSES
    assert bytes(found[RUNNING].payload) == b'[12345678901234567890,"\\u00fc\\n"]'
    assert (found[RUNNING].queue, found[RUNNING].priority, found[RUNNING].attempts) == ("mail", "high", 0)
    assert (found[RETRY].attempts, found[RETRY].last_error) == (1, "boom")
    assert found[KEYED].dedupe_key == "greeting:ü"
    assert {decode_key(key): job_id for key, job_id in (await all_keys(broker)).items()} == {"greeting:ü": KEYED}
    order = [FIRST, SECOND, THIRD, RETRY]
    ready = await lanes(broker, rig.client)
    for shard in range(spread):
        assert ready.get((shard, "default", "default"), []) == [
            job_id for job_id in order if broker.shards.of_job(job_id) == shard
        ]
    paused = [
        row.paused for shard in range(spread) for row in (await broker.queues.stats(shard)).queues if row.name == "mail"
    ]
    assert paused == ["moving house"] * spread

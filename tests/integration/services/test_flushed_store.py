"""A store that is emptied under running replicas: what they wrote at their start is written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from queuey.errors import OtherShards, StoreUnavailable
from queuey.protocol import ids
from queuey.protocol.allowed import counted
from queuey.server.doctor import examine
from queuey.services.maintenance.feature_gate import FeatureGate
from queuey.services.maintenance.heartbeat import Heartbeat, introduce
from queuey.services.maintenance.loops import run_forever
from queuey.services.transfer.exporter import Exporter, shards_of, shards_of_jobs
from queuey.services.workers import Description
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import FEATURES
from queuey.store.shards import Shards
from tests.support.store import Rig
from tests.support.stores import SHARDS, one_of

shards = one_of(*SHARDS)


def described() -> Description:
    return Description("1", 1, ["api"], [], features=list(FEATURES))


def heart(broker: Broker, name: str = "one") -> Heartbeat:
    return Heartbeat(broker, name, described, 5.0, gate=FeatureGate(broker))


def with_other_shards(rig: Rig) -> Broker:
    return Broker(Shards(rig.client, rig.broker.shards.count + 1), rig.scripts)


async def written(rig: Rig) -> list[dict[bytes, bytes]]:
    """The fields of meta that a start writes, on each shard."""
    names = ("shards", "store_id")
    return [
        {name: fields[name] for name in map(str.encode, names) if name in fields}
        for fields in [await rig.client.hgetall(keys.meta) for keys in rig.broker.shards.keys]
    ]


async def test_the_next_heartbeat_registers_again(rig: Rig) -> None:
    await rig.broker.replicas.register()
    before = await written(rig)
    own = heart(rig.broker)
    await own.run_once()
    await rig.client.flushall()
    with capture_logs() as logs:
        await own.run_once()
        await own.run_once()
    assert [log["event"] for log in logs].count("store_emptied") == 1
    after = await written(rig)
    count = str(rig.broker.shards.count).encode()
    assert [fields[b"shards"] for fields in after] == [count] * rig.broker.shards.count
    assert len({fields[b"store_id"] for fields in after}) == 1
    assert after[0][b"store_id"] != before[0][b"store_id"], "another store for a file that is continued"
    assert await shards_of(rig.broker, 1) == rig.broker.shards.count


async def test_another_number_of_shards_is_refused_after_it(rig: Rig) -> None:
    await rig.broker.replicas.register()
    own = heart(rig.broker)
    await rig.client.flushall()
    await own.run_once()
    with pytest.raises(OtherShards, match=f"start it with --shards {rig.broker.shards.count}"):
        await with_other_shards(rig).replicas.register()


async def test_one_that_runs_stops_if_another_number_came_first(rig: Rig) -> None:
    await rig.broker.replicas.register()
    own = heart(rig.broker)
    await own.run_once()
    await rig.client.flushall()
    other = with_other_shards(rig)
    await other.replicas.register()
    with pytest.raises(OtherShards, match=f"start it with --shards {other.shards.count}"):
        await run_forever(own)
    with pytest.raises(OtherShards):
        await introduce(rig.broker, "one", described())
    assert (await rig.broker.replicas.workers(0)).replicas == []
    await own.leave()


async def test_shards_that_did_not_answer_are_written_by_a_later_heartbeat(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.broker.replicas.register()
    own = heart(rig.broker)
    await rig.client.flushall()
    register = rig.broker.replicas.register

    async def only_the_first() -> Any:
        await Broker(Shards(rig.client, rig.broker.shards.count), rig.scripts).replicas.register()
        for keys in rig.broker.shards.keys[1:]:
            await rig.client.delete(keys.meta)
        raise StoreUnavailable("It does not answer.")

    monkeypatch.setattr(rig.broker.replicas, "register", only_the_first)
    with pytest.raises(StoreUnavailable):
        await own.run_once()
    monkeypatch.setattr(rig.broker.replicas, "register", register)
    await own.run_once()
    assert all(fields.keys() == {b"shards", b"store_id"} for fields in await written(rig))


async def test_a_replica_that_leaves_writes_nothing(rig: Rig) -> None:
    await rig.broker.replicas.register()
    own = heart(rig.broker)
    await own.run_once()
    await rig.client.flushall()
    await own.leave()
    assert await rig.names() == set()


# --- before the next heartbeat -----------------------------------------------------------------------------------


async def added(rig: Rig, count: int) -> None:
    """Enqueue jobs on all shards, which nobody has registered."""
    for _ in range(count):
        job_id = ids.new_id()
        shard = rig.broker.shards.of_job(job_id)
        assert await rig.broker.jobs.enqueue(shard, [rig.job(id=job_id)]) == ["new"]


async def test_an_export_sees_the_jobs_before_it(rig: Rig, tmp_path: Path) -> None:
    await added(rig, 50)
    one = Broker(Shards(rig.client, 1), rig.scripts)
    count = rig.broker.shards.count
    assert await shards_of(one, 1) == count
    assert await shards_of_jobs(one, 2 * count) == count, "the settings do not fit the jobs"
    exporter = Exporter(rig.broker, tmp_path / "file", lambda kind, more: None)
    assert (await exporter.run(resume=False))["job"] == 50


async def test_few_jobs_may_fit_several_numbers_of_shards(rig: Rig) -> None:
    one = Broker(Shards(rig.client, 1), rig.scripts)
    assert await shards_of_jobs(one, 8) == 0
    await rig.broker.jobs.enqueue(0, [rig.job(id="0" + "0" + ids.new_id()[2:])])
    assert await shards_of_jobs(one, 8) == 8
    assert await shards_of_jobs(one, 1) == 1


async def test_the_doctor_sees_the_jobs_before_it(rig: Rig) -> None:
    await added(rig, 50)
    found = [each async for each in examine(Settings(redis=rig_url(rig), app=None, roles=("worker",)))]
    (data,) = [each for each in found if each.subject == "data"]
    assert data.level == "warn"
    assert f"jobs in {counted(rig.broker.shards.count, 'shard')}, " in data.text


def rig_url(rig: Rig) -> str:
    return f"unix://{rig.client.connection_pool.connection_kwargs['path']}"

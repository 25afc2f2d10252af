"""Export and import of schedules."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuey.errors import StartupError
from queuey.protocol.stored.schedules import Schedule
from queuey.services.transfer import exporter as exporting
from queuey.services.transfer.exporter import Exporter
from queuey.services.transfer.file_format import Checkpoint, ScheduleLine, lines_from, read_header, read_whole
from queuey.services.transfer.importer import Importer
from queuey.store.broker.broker import Broker
from queuey.store.broker.schedules import NewSchedule
from queuey.store.shards import Shards
from tests.support.moving import ignore
from tests.support.scripts.schedules import MINUTE, SPEC, Timetable
from tests.support.store import NOW, Rig
from tests.support.stores import KINDS, SHARDS, one_of

kind = one_of(*KINDS)
shards = one_of(*SHARDS)
NAMES = [f"n{number}" for number in range(7)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.ndjson"


async def filled(rig: Rig) -> Timetable:
    """Schedules on all shards, and one that has fired, with a tick that waits."""
    await rig.broker.replicas.register()
    for name in NAMES:
        item = NewSchedule(name, f"U{name}", "", NOW, NOW + 1, NOW + 2, SPEC)
        assert await rig.broker.schedules.put_schedules(rig.broker.shards.of_schedule(name), [item]) == [
            ("new", f"U{name}.1")
        ]
    plan = Timetable(rig)
    await plan.put()
    assert await plan.fire_tick() == "fired"
    assert await plan.fire_tick(NOW + MINUTE, overlap="queue_one") == "pending"
    return plan


async def export(rig: Rig, file: Path, *, resume: bool = False) -> dict[str, int]:
    return await Exporter(rig.broker, file, ignore).run(resume=resume)


async def imported(broker: Broker, file: Path, *, merge: bool = False) -> dict[str, int]:
    return await Importer(broker, file, read_whole(file), ignore).run(merge=merge)


async def all_schedules(broker: Broker) -> dict[str, tuple[Schedule, list[str]]]:
    """Each with its runs, from the shard where it belongs."""
    found = {}
    for shard in range(broker.shards.count):
        page, _ = await broker.schedules.list_schedules(shard)
        for schedule in page:
            assert broker.shards.of_schedule(schedule.name) == shard
            _, ((_, runs),) = await broker.schedules.get_schedules(shard, [schedule.name], 50)
            found[schedule.name] = schedule, runs
    return found


@pytest.mark.parametrize("spread", [1, 3])
async def test_they_are_there_afterwards(rig: Rig, file: Path, monkeypatch: pytest.MonkeyPatch, spread: int) -> None:
    monkeypatch.setattr(exporting, "SCHEDULE_PAGE", 2)
    plan = await filled(rig)
    counts = await export(rig, file)
    assert (counts["schedule"], counts["job"], read_header(file).format) == (len(NAMES) + 1, 1, 2)
    target = Broker(Shards(rig.client, spread, "target"), rig.scripts)
    await imported(target, file)
    assert await all_schedules(target) == await all_schedules(rig.broker)
    shard = target.shards.of_schedule(plan.name)
    firing = plan.firing(NOW + 2 * MINUTE)
    assert (await target.schedules.fire(shard, [firing], now=NOW + 2 * MINUTE)).answers == ["skipped"]
    assert await imported(target, file) == {"restored": 0, "there": 0}, "it is complete already"


async def test_a_file_without_schedules_is_as_older_versions_write_it(rig: Rig, file: Path) -> None:
    await rig.broker.replicas.register()
    await rig.add(2)
    assert await export(rig, file) == {"queue": 1, "key": 0, "job": 2, "lane": 1}
    assert read_header(file).format == 1
    lines = [line for _, line in lines_from(file)]
    assert {line.phase for line in lines if isinstance(line, Checkpoint)} == {"keys", "jobs", "lanes"}
    await imported(Broker(Shards(rig.client, 1, "target"), rig.scripts), file)


async def test_an_export_that_stopped_before_them_goes_on(rig: Rig, file: Path) -> None:
    await filled(rig)
    counts = await export(rig, file)
    lines = list(lines_from(file))
    after = next(position for position, line in lines if isinstance(line, ScheduleLine))
    whole = file.read_bytes()
    file.write_bytes(whole[:after])
    assert await export(rig, file, resume=True) == counts
    assert read_whole(file).counts == counts


async def test_one_that_began_without_them_ends_without_them(rig: Rig, file: Path) -> None:
    await rig.broker.replicas.register()
    await rig.add(2)
    counts = await export(rig, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.rindex(b"{", 0, -2)].rpartition(b"\n")[0] + b"\n")
    await filled(rig)
    await export(rig, file, resume=True)
    assert (read_whole(file).counts.get("schedule"), read_header(file).format) == (None, 1)
    assert read_whole(file).counts["lane"] == counts["lane"]


async def test_a_store_with_schedules_alone_is_not_empty(rig: Rig, file: Path) -> None:
    await filled(rig)
    await export(rig, file)
    other = Broker(Shards(rig.client, 1, "other"), rig.scripts)
    await other.replicas.register()
    await other.schedules.put_schedules(0, [NewSchedule("n0", "theirs", "", NOW, NOW, NOW, SPEC)])
    with pytest.raises(StartupError, match="jobs or schedules already"):
        await imported(other, file)
    await imported(other, file, merge=True)
    assert (await all_schedules(other))["n0"][0].uid == "theirs"


async def test_a_store_of_older_versions_refuses_them(rig: Rig, file: Path) -> None:
    await filled(rig)
    await export(rig, file)
    other = Broker(Shards(rig.client, 1, "other"), rig.scripts)
    await rig.client.hset(other.shards.keys[0].meta, mapping={"format": 1, "shards": 1})
    with pytest.raises(StartupError, match="cannot hold schedules yet"):
        await imported(other, file)
    await rig.client.hset(other.shards.keys[0].meta, "features", "schedules")
    await imported(other, file)
    assert (await all_schedules(other)).keys() == (await all_schedules(rig.broker)).keys()


async def test_a_shard_that_is_full_of_them_says_so(rig: Rig, file: Path) -> None:
    await filled(rig)
    await export(rig, file)
    other = Broker(Shards(rig.client, 1, "other"), rig.scripts)
    await other.replicas.register()
    await rig.client.zadd(other.shards.keys[0].schedule_names, {f"x{number}": 0 for number in range(10_000)})
    with pytest.raises(StartupError, match="more than 10,000 schedules"):
        await imported(other, file, merge=True)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ('{"cron":7,"job":{"type":"t"}}', "cannot read it"),
        ('{"cron":"* * * * *"}', "cannot read it"),
        ('{"cron":"61 * * * *","job":{"type":"t"}}', "the minute '61'"),
        ('{"cron":"* * * * *","timezone":"Europe","job":{"type":"t"}}', "not a known time zone"),
    ],
)
async def test_one_that_cannot_be_read_is_refused_before_anything_is_written(
    rig: Rig, file: Path, wrong: str, reason: str
) -> None:
    await filled(rig)
    await export(rig, file)
    quoted = [text.replace('"', '\\"').encode() for text in (SPEC, wrong)]
    whole = file.read_bytes()
    assert quoted[0] in whole
    file.write_bytes(whole.replace(quoted[0], quoted[1], 1))
    async with rig.unchanged():
        with pytest.raises(StartupError, match=f"the schedule n[0-9]: .*{reason}"):
            await imported(Broker(Shards(rig.client, 1, "target"), rig.scripts), file)

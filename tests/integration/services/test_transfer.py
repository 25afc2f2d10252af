"""Export and import: from one store to another, and into another number of shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.json import decode, encode

from queuey.errors import FileRefused, SettingsError, StartupError, StoreUnavailable
from queuey.protocol.records import parse_fields, to_job
from queuey.services.transfer import exporter as exporting
from queuey.services.transfer.exporter import Exporter, shards_of
from queuey.services.transfer.file_format import Checkpoint, JobLine, Lane, encode_line, lines_from, read_whole
from queuey.services.transfer.importer import Importer, shards_to_use
from queuey.store.broker.broker import Broker
from queuey.store.replies import DumpedJob
from queuey.store.shards import Shards
from tests.support.moving import PAUSED_AT, all_jobs, all_keys, at_work, fill, ignore, lanes
from tests.support.store import Rig
from tests.support.stores import KINDS, SHARDS, one_of

kind = one_of(*KINDS)
shards = one_of(*SHARDS)

SPREAD = (1, 3)
"""Shards of the store that is imported into."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.ndjson"


def target(rig: Rig, shards: int = 1, prefix: str = "target") -> Broker:
    """Another store on the same server."""
    return Broker(Shards(rig.client, shards, prefix), rig.scripts)


async def export(rig: Rig, file: Path, *, resume: bool = False) -> dict[str, int]:
    await rig.broker.replicas.register()
    return await Exporter(rig.broker, file, ignore).run(resume=resume)


async def imported(broker: Broker, file: Path, *, merge: bool = False) -> dict[str, int]:
    return await Importer(broker, file, read_whole(file), ignore).run(merge=merge)


def as_imported(job: DumpedJob) -> tuple[Any, ...]:
    """A job as it must be after an import: but for those that ran, as before."""
    if job.place == "running":
        fields = parse_fields(job.state)
        return "ready" if "z" not in fields else "finished", job.definition, fields["n"]
    return job.place, job.score, job.definition, job.state


@pytest.mark.parametrize("spread", SPREAD)
async def test_everything_is_there_afterwards(rig: Rig, file: Path, spread: int) -> None:
    ids = await fill(rig)
    counts = await export(rig, file)
    total = sum(map(len, ids.values()))
    assert counts == {"queue": 2, "key": 2, "job": total, "lane": 2}
    store = target(rig, spread)
    assert await imported(store, file) == {"restored": total, "there": 0}
    before, after = await all_jobs(rig.broker), await all_jobs(store)
    assert before.keys() == after.keys() == {job_id for place in ids.values() for job_id in place}
    for job_id, job in before.items():
        expected, now = as_imported(job), after[job_id]
        if job.place == "running":
            assert (now.place, now.definition, parse_fields(now.state)["n"]) == expected
        else:
            assert (now.place, now.score, now.definition, now.state) == expected
    assert await all_keys(store) == await all_keys(rig.broker) != {}


@pytest.mark.parametrize("spread", SPREAD)
async def test_lanes_keep_their_order(rig: Rig, file: Path, monkeypatch: pytest.MonkeyPatch, spread: int) -> None:
    """Also of jobs of one millisecond, over several pages, and with one at the head that was given back."""
    monkeypatch.setattr(exporting, "LANE_PAGE", 7)
    ids = await fill(rig, ready=40)
    first = (await rig.claim(now=0)).jobs[0]
    await rig.broker.leases.release(rig.shard, [(first.id, first.token)])
    await export(rig, file)
    assert sum(isinstance(line, Lane) for _, line in lines_from(file)) > 6
    store = target(rig, spread)
    await imported(store, file)
    found = await lanes(store, rig.client)
    for shard in range(spread):
        mine = [job_id for job_id in ids["ready"] if store.shards.of_job(job_id) == shard]
        assert found.get((shard, "default", "high"), []) == mine
        mail = [*ids["running"], *ids["released"], *ids["keyed"]]
        mine = [job_id for job_id in mail if store.shards.of_job(job_id) == shard]
        assert found.get((shard, "mail", "default"), []) == mine
    rows = [row for shard in range(spread) for row in (await store.queues.stats(shard)).queues]
    assert sum([row.high for row in rows]) == 40, "no tombstone came along"


async def test_queues_stay_paused_on_every_shard(rig: Rig, file: Path) -> None:
    ids = await fill(rig)
    await export(rig, file)
    store = target(rig, 3)
    await imported(store, file)
    for shard in range(3):
        rows = {row.name: row.paused for row in (await store.queues.stats(shard)).queues}
        assert rows["mail"] == "the mail server is away"
        (head,) = await store.queues.queue_status(shard, ["mail"])
        assert (head.paused_by, head.paused_at_ms) == ("ops", PAUSED_AT)
        assert rows.get("default", "") == ""
    shard = store.shards.of_job(ids["keyed"][0])
    options: dict[str, Any] = {"worker": "w", "lease_ms": 30_000, "limit": 10, "queues": ["mail"]}
    assert not (await store.leases.claim(shard, claim_id="c1", **options)).jobs
    await store.queues.resume(shard, "mail")
    assert ids["keyed"][0] in [job.id for job in (await store.leases.claim(shard, claim_id="c2", **options)).jobs]


async def test_a_worker_of_before_is_refused(rig: Rig, file: Path) -> None:
    ids = await fill(rig)
    held = (await rig.claim(now=0)).jobs[0]
    await export(rig, file)
    store = target(rig)
    await imported(store, file)
    assert await store.leases.complete(0, [(held.id, held.token, "")]) == ["lost"]
    (flagged,) = await store.jobs.get(0, ids["flagged"])
    assert to_job(ids["flagged"][0], flagged).status == "cancelled"


async def test_the_file_is_ours_alone_and_never_written_over(rig: Rig, file: Path) -> None:
    await fill(rig)
    await export(rig, file)
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    with pytest.raises(SettingsError, match=r"exists already\. Continue it with --resume"):
        await export(rig, file)
    assert file.read_bytes() == before
    with pytest.raises(SettingsError, match="No such file"):
        await export(rig, file.parent / "nowhere" / "x")


async def test_what_is_written_can_be_written_again(rig: Rig, file: Path) -> None:
    """From a store that was filled by an import: its export is the same."""
    await fill(rig)
    await export(rig, file)
    store = target(rig)
    await imported(store, file)
    again = file.with_name("again")
    await Exporter(store, again, ignore).run(resume=False)
    jobs = [{line.id: line for _, line in lines_from(path) if isinstance(line, JobLine)} for path in (file, again)]
    assert jobs[0].keys() == jobs[1].keys()
    same = [job_id for job_id in jobs[0] if jobs[0][job_id] == jobs[1][job_id]]
    assert len(same) == len(jobs[0]) - 2, "all but the two that ran"


# --- broken off --------------------------------------------------------------------------------------------------


async def test_an_export_is_finished_from_wherever_it_was_cut(rig: Rig, file: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("queuey.store.broker.broker.SCAN_COUNT", 4)
    ids = await fill(rig)
    await export(rig, file)
    whole = file.read_bytes()
    names = {job_id for place in ids.values() for job_id in place}
    ends = [position for position, _ in lines_from(file)]
    assert len(ends) > 25
    for end in ends:
        for cut in {max(end + more, ends[0]) for more in (-1, 0, 10)}:
            file.write_bytes(whole[:cut])
            await export(rig, file, resume=True)
            read_whole(file)
            assert {line.id for _, line in lines_from(file) if isinstance(line, JobLine)} == names
            assert whole.startswith(file.read_bytes()[: ends[0]]), "the same export"


async def test_another_run_of_the_store_gives_no_cursor(rig: Rig, file: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("queuey.store.broker.broker.SCAN_COUNT", 4)
    ids = await fill(rig)
    await export(rig, file)
    lines = [line for _, line in lines_from(file)]
    at = next(
        number
        for number, line in enumerate(lines)
        if getattr(line, "phase", "") == "jobs" and getattr(line, "cursor", 0)
    )
    run_id = lines[at].run_id.encode()  # type: ignore[union-attr]
    begun = b"".join(map(encode_line, lines[: at + 1]))
    file.write_bytes(begun.replace(run_id, b"0" * 40))
    await export(rig, file, resume=True)
    found = [line.id for _, line in lines_from(file) if isinstance(line, JobLine)]
    assert set(found) == {job_id for place in ids.values() for job_id in place}
    assert len(found) > len(set(found)), "those before the cut were looked at once more"
    store = target(rig)
    assert (await imported(store, file))["restored"] == len(set(found))
    assert (await all_jobs(store)).keys() == set(found)


async def test_resuming_what_is_not_there_begins_and_what_is_whole_stays(rig: Rig, file: Path) -> None:
    await fill(rig)
    counts = await export(rig, file, resume=True)
    before = file.read_bytes()
    await rig.add(now=0)
    assert await export(rig, file, resume=True) == counts
    assert file.read_bytes() == before


async def test_a_file_that_was_only_just_begun(rig: Rig, file: Path) -> None:
    ids = await fill(rig)
    file.touch()
    assert (await export(rig, file, resume=True))["job"] == sum(map(len, ids.values()))
    assert file.stat().st_mode & 0o777 == 0o600


async def test_what_is_no_export_is_not_written_to(rig: Rig, file: Path) -> None:
    await fill(rig)
    checkpoint = encode_line(Checkpoint("jobs", 0, "")).decode()
    for text in ("my notes", "my notes\nmore\n", "{}\n", checkpoint):
        file.write_text(text)
        with pytest.raises(FileRefused):
            await export(rig, file, resume=True)
        assert file.read_text() == text


async def test_an_export_of_another_store_is_not_gone_on_with(rig: Rig, file: Path) -> None:
    await fill(rig)
    await export(rig, file)
    other = target(rig)
    await other.replicas.register()
    with pytest.raises(SettingsError, match="Give the store of that export"):
        await Exporter(other, file, ignore).run(resume=True)


async def test_a_store_of_the_same_shape_is_another_all_the_same(rig: Rig, file: Path) -> None:
    await fill(rig)
    await export(rig, file)
    text = file.read_bytes()
    await rig.client.flushdb()
    with pytest.raises(SettingsError, match="is an export of another store"):
        await export(rig, file, resume=True)
    assert file.read_bytes() == text


async def test_a_file_that_names_no_store_is_gone_on_with(rig: Rig, file: Path) -> None:
    await fill(rig)
    counts = await export(rig, file)
    header, *lines = file.read_bytes().splitlines(keepends=True)
    known = decode(header)
    assert known.pop("store_id")
    file.write_bytes(encode(known) + b"\n" + b"".join(lines[:-1]))
    assert await export(rig, file, resume=True) == counts
    assert read_whole(file).header.store_id == ""


def breaking(broker: Broker, left: int) -> Broker:
    """The Broker, whose n-th restore fails once it has been done."""
    restore = broker.transfer.restore

    async def breaking_restore(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        answers = await restore(*arguments, **options)
        left -= 1
        if not left:
            raise StoreUnavailable("gone", maybe_done=True)
        return answers

    broker.transfer.restore = breaking_restore  # type: ignore[method-assign]
    return broker


@pytest.mark.parametrize("left", [1, 3, 6])
async def test_an_import_that_was_broken_off_goes_on(rig: Rig, file: Path, monkeypatch: Any, left: int) -> None:
    monkeypatch.setattr("queuey.store.broker.broker.SCAN_COUNT", 4)
    ids = await fill(rig, ready=30)
    await export(rig, file)
    with pytest.raises(StoreUnavailable):
        await imported(breaking(target(rig, 3), left), file)
    store = target(rig, 3)
    total = sum(map(len, ids.values()))
    result = await imported(store, file)
    assert 0 < result["restored"] < total or left == 1
    assert (await all_jobs(store)).keys() == {job_id for place in ids.values() for job_id in place}
    found = await lanes(store, rig.client)
    for shard in range(3):
        mine = [job_id for job_id in ids["ready"] if store.shards.of_job(job_id) == shard]
        assert found.get((shard, "default", "high"), []) == mine
    assert await imported(store, file) == {"restored": 0, "there": 0}, "it is in"


async def test_an_import_that_is_in_brings_nothing_back(rig: Rig, file: Path) -> None:
    """A job that has run and been trimmed since must not run again."""
    (job_id,) = await rig.add(now=0)
    await export(rig, file)
    store = target(rig)
    await imported(store, file)
    await rig.client.delete(store.shards.keys[0].job(job_id), store.shards.keys[0].ready("default", "default"))
    await imported(store, file)
    assert await all_jobs(store) == {}


# --- refused -----------------------------------------------------------------------------------------------------


async def test_a_store_with_jobs_is_refused_unless_told(rig: Rig, file: Path) -> None:
    ids = await fill(rig)
    await export(rig, file)
    store = target(rig)
    other = rig.job(queue="theirs")
    await store.jobs.enqueue(0, [other])
    async with rig.unchanged():
        with pytest.raises(StartupError, match=r"has jobs or schedules already that are not from this .* --merge"):
            await imported(store, file)
    total = sum(map(len, ids.values()))
    assert await imported(store, file, merge=True) == {"restored": total, "there": 0}
    assert len(await all_jobs(store)) == total + 1


async def test_its_own_store_has_all_of_it(rig: Rig, file: Path) -> None:
    ids = await fill(rig)
    await export(rig, file)
    before = await all_jobs(rig.broker)
    result = await imported(rig.broker, file, merge=True)
    assert result == {"restored": 0, "there": sum(map(len, ids.values()))}
    assert await all_jobs(rig.broker) == before


@pytest.mark.parametrize(
    ("wanted", "stored", "expected"), [(None, 0, 4), (None, 8, 8), (2, 0, 2), (2, 2, 2), (4, 0, 4)]
)
async def test_how_many_shards(rig: Rig, file: Path, wanted: int | None, stored: int, expected: int) -> None:
    await export(rig, file)
    header = read_whole(file).header
    header.shards = 4
    assert shards_to_use(wanted, stored, header) == expected


async def test_another_count_than_the_stores_is_refused(rig: Rig, file: Path) -> None:
    await export(rig, file)
    with pytest.raises(StartupError, match=r"has 2 shards already\. Import with --shards 2"):
        shards_to_use(3, 2, read_whole(file).header)


async def test_a_store_without_queuey_or_of_a_newer_one_is_not_exported(rig: Rig) -> None:
    with pytest.raises(StartupError, match="has no data of Queuey under the prefix queuey"):
        await shards_of(Broker(Shards(rig.client, 1), rig.scripts), 1)
    await rig.broker.replicas.register()
    assert await shards_of(Broker(Shards(rig.client, 1), rig.scripts), 1) == rig.broker.shards.count
    await rig.client.hset(rig.broker.shards.keys[0].meta, "format", 99)
    with pytest.raises(StartupError, match="format 99 and this version of Queuey reads up to 2"):
        await shards_of(rig.broker, 1)


async def test_more_queues_than_there_may_be(rig: Rig, file: Path) -> None:
    await fill(rig)
    await export(rig, file)
    store = target(rig)
    await rig.client.sadd(store.shards.keys[0].queues, *(f"q{number}" for number in range(256)))
    with pytest.raises(StartupError, match="more than 256 queues"):
        await imported(store, file, merge=True)


async def test_a_file_with_a_line_less_changes_nothing(rig: Rig, file: Path) -> None:
    await fill(rig)
    await export(rig, file)
    lines = [line for _, line in lines_from(file)]
    dropped = next(number for number, line in enumerate(lines) if isinstance(line, JobLine))
    store = target(rig)
    async with rig.unchanged():
        for kept, why in ((lines[:dropped] + lines[dropped + 1 :], "lines are missing"), (lines[:-1], "is incomplete")):
            file.write_bytes(b"".join(map(encode_line, kept)))
            with pytest.raises(FileRefused, match=why):
                await imported(store, file)


# --- a store at work ---------------------------------------------------------------------------------------------


async def test_no_job_that_was_there_all_the_time_is_missing(rig: Rig, file: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("queuey.store.broker.broker.SCAN_COUNT", 4)
    monkeypatch.setattr(exporting, "DUMP_BATCH", 2)
    ids = await fill(rig, ready=40)
    await rig.broker.replicas.register()
    await Exporter(at_work(rig), file, ignore).run(resume=False)
    store = target(rig, 2)
    await imported(store, file)
    found = await all_jobs(store)
    assert found.keys() >= {job_id for place in ids.values() for job_id in place}
    assert {found[job_id].place for job_id in ids["ready"]} >= {"finished", "scheduled", "ready"}

"""type_reports: what the live replicas report of types, in full only when it has changed."""

from __future__ import annotations

import pytest

from queuey.store.broker import replicas
from tests.support.store import NOW, SECOND, Rig

STALE = 60 * SECOND


def description(mark: str, pid: int = 1) -> str:
    return f'{{"pid":{pid},"workers":[],"types_mark":"{mark}"}}'


async def beat(rig: Rig, replica: str, text: str, now: int = NOW) -> None:
    await rig.broker.replicas.heartbeat(rig.shard, replica, text, STALE, now=now)


async def reports(rig: Rig, mark: str = "", now: int = NOW) -> tuple[str, list[str]]:
    async with rig.unchanged():
        answer = await rig.broker.replicas.type_reports(rig.shard, mark, STALE, now=now)
    return answer.mark, answer.descriptions


async def test_without_replicas_there_is_nothing(rig: Rig) -> None:
    assert await reports(rig) == ("", [])


async def test_one_replica_stands_for_all_that_report_the_same(rig: Rig) -> None:
    for number, mark in enumerate(("aa", "bb", "aa", "aa")):
        await beat(rig, f"r{number}", description(mark))
    mark, found = await reports(rig)
    assert found == [description("aa"), description("bb")]
    assert await reports(rig, mark) == (mark, [])


async def test_another_heartbeat_of_the_same_changes_nothing(rig: Rig) -> None:
    await beat(rig, "a", description("aa"))
    mark, _ = await reports(rig)
    await beat(rig, "a", description("aa", pid=2), NOW + SECOND)
    await beat(rig, "b", description("aa", pid=3), NOW + SECOND)
    assert await reports(rig, mark, NOW + SECOND) == (mark, [])


async def test_what_comes_and_goes_is_a_change(rig: Rig) -> None:
    await beat(rig, "a", description("aa"))
    first, _ = await reports(rig)
    await beat(rig, "b", description("bb"), NOW + SECOND)
    second, found = await reports(rig, first, NOW + SECOND)
    assert found == [description("aa"), description("bb")]
    third, found = await reports(rig, second, NOW + STALE + 1)
    assert found == [description("bb")], "a has sent no heartbeat for too long"
    assert len({first, second, third}) == 3


async def test_a_replica_of_an_earlier_version_changes_with_each_heartbeat(rig: Rig) -> None:
    await beat(rig, "old", '{"pid":1}')
    mark, found = await reports(rig)
    assert found == ['{"pid":1}']
    assert await reports(rig, mark) == (mark, [])
    await beat(rig, "old", '{"pid":2}', NOW + SECOND)
    assert (await reports(rig, mark, NOW + SECOND))[1] == ['{"pid":2}']


async def test_a_mark_in_the_name_of_a_worker_is_not_one(rig: Rig) -> None:
    name = '{"workers":[{"name":"\\"types_mark\\":\\"aa\\""}],"types_mark":"bb"}'
    await beat(rig, "a", name)
    assert (await reports(rig))[0] == "bb"


async def test_the_descriptions_have_a_bound(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for mark in ("aa", "bb", "cc"):
        await beat(rig, mark, description(mark))
    monkeypatch.setattr(replicas, "MAX_REPORTS_BYTES", len(description("aa")) + 1)
    assert (await reports(rig))[1] == [description("aa"), description("bb")]

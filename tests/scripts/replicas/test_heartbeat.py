"""heartbeat: a replica's sign of life."""

from __future__ import annotations

import pytest

from tests.support.store import HOUR, NOW, SECOND, Rig

STALE = 60 * SECOND


async def beat(rig: Rig, worker: str, description: str = "{}", *, now: int = NOW) -> int:
    return (await rig.broker.replicas.heartbeat(rig.shard, worker, description, STALE, now=now)).known


async def known(rig: Rig) -> dict[str, str]:
    entries = await rig.client.hgetall(rig.keys.workers)
    return {worker.decode(): text.decode() for worker, text in entries.items()}


async def test_a_replica_is_known_with_its_time_and_description(rig: Rig) -> None:
    assert await beat(rig, "a", '{"pid":1}') == 1
    assert await beat(rig, "b") == 2
    assert await beat(rig, "a", '{"pid":2}', now=NOW + SECOND) == 2
    assert await known(rig) == {"a": f'{NOW + SECOND} {{"pid":2}}', "b": f"{NOW} {{}}"}


async def test_one_that_gave_no_sign_for_too_long_is_forgotten(rig: Rig) -> None:
    await beat(rig, "a")
    assert await beat(rig, "b", now=NOW + STALE) == 2
    assert await beat(rig, "b", now=NOW + STALE + 1) == 1
    assert set(await known(rig)) == {"b"}


async def test_a_replica_that_was_away_is_not_forgotten_by_its_own_beat(rig: Rig) -> None:
    await beat(rig, "a")
    assert await beat(rig, "a", now=NOW + HOUR) == 1
    assert await known(rig) == {"a": f"{NOW + HOUR} {{}}"}


async def test_it_says_good_bye_with_an_empty_description(rig: Rig) -> None:
    await beat(rig, "a")
    await beat(rig, "b")
    assert await beat(rig, "a", "") == 1
    async with rig.unchanged():
        assert await beat(rig, "a", "") == 1
        assert await beat(rig, "b") == 1, "the same beat again"
    assert await beat(rig, "b", "") == 0
    assert await rig.names() == set()


async def test_a_clock_that_went_back_forgets_nobody(rig: Rig) -> None:
    await beat(rig, "a")
    assert await beat(rig, "b", now=NOW - HOUR) == 2


async def test_the_stores_clock_decides_when_no_time_is_given(rig: Rig) -> None:
    await beat(rig, "a", now=0)
    seconds, _ = await rig.client.time()
    assert abs(int((await known(rig))["a"].split(" ")[0]) - seconds * 1000) < 10 * SECOND


async def test_thousands_that_are_gone_are_forgotten(rig: Rig) -> None:
    await rig.client.hset(rig.keys.workers, mapping={f"w{number}": f"{NOW} {{}}" for number in range(4500)})
    assert await beat(rig, "a", now=NOW + HOUR) == 501
    assert await beat(rig, "a", now=NOW + HOUR) == 1


# --- features ----------------------------------------------------------------------------------------------------


KNOWS_ASIDE = '{"pid":1,"features":["other","aside"]}'
KNOWS_NOTHING = '{"pid":2,"workers":[{"name":"\\"features\\":[\\"aside\\"]}"}],"features":[]}'
"""Its worker has a name that looks like a list of features."""


async def test_it_answers_which_features_are_in_use(rig: Rig) -> None:
    assert (await rig.broker.replicas.heartbeat(rig.shard, "a", "{}", now=NOW)).features == []
    await rig.client.hset(rig.keys.meta, "features", "aside other")
    answer = await rig.broker.replicas.heartbeat(rig.shard, "b", KNOWS_ASIDE, now=NOW)
    assert (answer.features, answer.unknown) == (["aside", "other"], [])


@pytest.mark.parametrize("description", ["{}", '{"features":[]}', '{"features":["asides","asid"]}', KNOWS_NOTHING])
async def test_a_replica_that_does_not_know_one_in_use_is_refused(rig: Rig, description: str) -> None:
    await beat(rig, "a", description)
    await rig.client.hset(rig.keys.meta, "features", "aside")
    answer = await rig.broker.replicas.heartbeat(rig.shard, "a", description, now=NOW)
    assert (answer.unknown, answer.known) == (["aside"], 0)
    assert await known(rig) == {}
    assert await beat(rig, "a", "") == 0, "it may leave"


async def test_it_names_older_replicas_that_came_back(rig: Rig) -> None:
    """An older version sends a heartbeat of its own script, which refuses nothing."""
    await rig.client.hset(rig.keys.meta, "features", "aside")
    entries = {f"old{number:02}": f"{NOW} {KNOWS_NOTHING}" for number in range(12)}
    await rig.client.hset(rig.keys.workers, mapping=entries)
    answer = await rig.broker.replicas.heartbeat(rig.shard, "a", KNOWS_ASIDE, STALE, now=NOW)
    assert len(answer.strangers) == 10
    assert set(answer.strangers) < entries.keys()
    answer = await rig.broker.replicas.heartbeat(rig.shard, "a", KNOWS_ASIDE, STALE, now=NOW + STALE + 1)
    assert answer.strangers == []

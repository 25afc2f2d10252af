"""bury_unknown: jobs in lists set aside that no worker knew in time become dead letters."""

from __future__ import annotations

import msgspec

from queuey.store.asides import ANY, SUSPECTS
from queuey.store.replies import Buried
from tests.support.scripts.asides import add_types, aside, set_aside, type_marked
from tests.support.store import HOUR, NOW, SECOND, Rig

X = ("default", "default", "x", HOUR)
TOMBSTONES = "tombstones_default"


async def bury(rig: Rig, *lists: tuple[str, str, str, int], late: int = 1, limit: int = 500, known: str = "") -> Buried:
    """Bury with a TTL of an hour, `late` ms after that."""
    now = NOW + HOUR + late
    return await rig.broker.maintenance.bury_unknown(rig.shard, limit, lists or [X], list(known), now=now)


async def test_a_job_that_waited_for_longer_is_a_dead_letter(rig: Rig) -> None:
    x1, x2 = await set_aside(rig, "xx")
    moves = rig.listen()
    assert await bury(rig, late=0) == Buried([], [], False)
    assert await bury(rig) == Buried([x1, x2], [], False)
    assert moves == [(x1, "dead_letter"), (x2, "dead_letter")]
    stored = await rig.stored(x1)
    assert (await rig.state(x1))["s"] == "d"
    at, _, error = stored.state.rsplit("\n", 1)[1].partition(" ")
    told = msgspec.json.decode(error)
    assert (int(at), told["kind"], told["attempt"]) == (NOW + HOUR + 1, "unknown_type", 1)
    assert told["message"] == "no worker of its queue knew its type for 3600 s"
    assert await aside(rig, "x") == []
    assert await rig.scores(rig.keys.dead("default")) == dict.fromkeys([x1, x2], NOW + HOUR + 1)
    counters = await rig.counters()
    assert (counters["unknown_type"], counters["dead"]) == (2, 2)
    assert (await rig.row())["dead"] == 2
    async with rig.unchanged():
        assert await bury(rig) == Buried([], [], False)


async def test_a_replayed_dead_letter_waits_again(rig: Rig) -> None:
    (x1,) = await set_aside(rig, "x")
    await bury(rig)
    assert await rig.broker.dlq.replay(rig.shard, "again", [x1], now=NOW + 2 * HOUR) == ["ok"]
    assert await rig.waiting() == [x1]
    await rig.claim_typed(room=[], others=False, now=NOW + 2 * HOUR)
    assert await bury(rig, late=HOUR) == Buried([], [], False)


async def test_it_stops_at_the_first_job_that_is_not_late(rig: Rig) -> None:
    (x1,) = await set_aside(rig, "x")
    x2, x3 = await set_aside(rig, "xx", now=NOW + SECOND)
    assert await bury(rig) == Buried([x1], [], False)
    assert await aside(rig, "x") == [x2, x3]


async def test_at_most_so_many_entries_are_looked_at(rig: Rig) -> None:
    added = await set_aside(rig, "x" * 20 + "y" * 20)
    y = ("default", "default", "y", HOUR)
    assert await bury(rig, X, y, limit=30) == Buried(added[:30], [], True)
    assert await aside(rig, "y") == added[30:]
    assert await bury(rig, X, y, limit=30) == Buried(added[30:], [], False)


async def test_expired_jobs_are_cancelled(rig: Rig) -> None:
    x1, x2 = await set_aside(rig, "xx", extra="x=1000")
    (x3,) = await set_aside(rig, "x")
    moves = rig.listen()
    assert await bury(rig, (*X[:3], 0)) == Buried([], [x1, x2], False)
    assert moves == [(x1, "cancelled"), (x2, "cancelled")]
    assert (await rig.state(x1))["s"] == "c"
    assert await aside(rig, "x") == [x3]
    assert (await rig.counters())["expired"] == 2


async def test_tombstones_go_and_are_counted(rig: Rig) -> None:
    x1, x2, x3 = await set_aside(rig, "xxx")
    await rig.broker.jobs.cancel(rig.shard, [x1, x2], now=NOW)
    await rig.broker.jobs.delete(rig.shard, [x1])
    await rig.add(body='{"type":"x"}', id=x1, queue="mail")
    assert await bury(rig) == Buried([x3], [], False)
    assert await rig.client.hget(rig.keys.queue("default"), TOMBSTONES) == b"0"
    assert await rig.waiting("mail") == [x1]


async def test_an_id_that_was_sent_again_with_another_type_leaves_a_tombstone(rig: Rig) -> None:
    (x1,) = await set_aside(rig, "x")
    await rig.broker.jobs.cancel(rig.shard, [x1], now=NOW)
    await rig.broker.jobs.delete(rig.shard, [x1])
    await rig.add(body='{"type":"a"}', id=x1)
    assert await bury(rig) == Buried([], [], False)
    assert await rig.client.hget(rig.keys.queue("default"), TOMBSTONES) == b"0"
    assert await rig.waiting() == [x1]


async def test_a_job_that_ran_before_counts_from_when_it_was_ready_last(rig: Rig) -> None:
    (x1,) = await add_types(rig, "x")
    (job,) = (await rig.claim()).jobs
    await rig.broker.leases.fail(rig.shard, [(x1, job.token, "{}", HOUR, False)], now=NOW)
    await rig.open_gate()
    await rig.broker.maintenance.promote(rig.shard, 9, now=NOW + HOUR)
    await set_aside(rig, "")
    assert await aside(rig, "x") == [x1]
    assert await bury(rig, late=HOUR) == Buried([], [], False)
    assert await bury(rig, late=HOUR + 1) == Buried([x1], [], False)
    assert '"attempt":2' in (await rig.stored(x1)).state


async def test_the_rest_is_turned_and_what_a_worker_knows_stays(rig: Rig) -> None:
    await rig.open_gate()
    await rig.client.hset(rig.keys.queue("default"), "aside", "".join(f" d:full{i}" for i in range(32)))
    added = await set_aside(rig, "xyx")
    assert await aside(rig, ANY) == added
    rest = ("default", "default", ANY, HOUR)
    assert await bury(rig, rest, known="y", limit=2) == Buried(added[:1], [], True)
    assert await aside(rig, ANY) == [added[2], added[1]]
    assert await bury(rig, rest, known="y") == Buried([added[2]], [], False)
    assert await aside(rig, ANY) == [added[1]]


async def test_suspects_are_turned_like_the_rest(rig: Rig) -> None:
    added = await add_types(rig, "xyx")
    await rig.set_aside(added, SUSPECTS)
    suspects = ("default", "default", SUSPECTS, HOUR)
    assert await bury(rig, suspects, known="y", limit=2) == Buried(added[:1], [], True)
    assert await aside(rig, SUSPECTS) == [added[2], added[1]]
    assert await bury(rig, suspects, known="y") == Buried([added[2]], [], False)
    assert await aside(rig, SUSPECTS) == [added[1]]


async def test_a_list_that_is_missing_has_nothing(rig: Rig) -> None:
    async with rig.unchanged():
        assert await bury(rig, ("nowhere", "low", "x", 1)) == Buried([], [], False)
    assert not await type_marked(rig, "x")

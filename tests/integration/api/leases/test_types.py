"""Pull workers that name types: each gets only those, whatever else stands before them, and is woken for them.

Rounds are so long that what happens within QUICKLY was told by a marker or a message, and not found by looking again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from queuey.services.leases.claims import MAX_TURNS
from queuey.store import wakeups as waking
from queuey.store.asides import Room
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over
from tests.support.pull.poller import Poller
from tests.support.scripts.asides import add_types, aside, names, set_aside
from tests.support.store import Rig
from tests.support.stores import one_of
from tests.support.working import ROUND, FaultyScripts, eventually, until_blocked

shards = one_of(1)
ROOM, WOKEN = -4, -1
"""The places of these terms in the arguments of `claim_typed`."""


@pytest.fixture(autouse=True)
def long_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "BLOCK_SECONDS", ROUND)


@pytest.fixture
def faulty() -> FaultyScripts:
    return FaultyScripts()


@pytest.fixture
async def api(rig: Rig, faulty: FaultyScripts) -> AsyncIterator[ApiRig]:
    """A replica, on a store whose other replicas all know lists set aside."""
    await rig.open_gate()
    await rig.client.sadd(rig.keys.queues, "default")
    async with replica(rig, faulty) as api:
        await api.hears.wait()
        yield api


def replica(rig: Rig, faulty: FaultyScripts | None = None) -> Any:
    broker = Broker(Shards(rig.broker.shards.client, rig.broker.shards.count), faulty or FaultyScripts())
    return api_over(broker, woken=True, request_deadline=5.0)


async def waiting(rig: Rig, *replicas: tuple[ApiRig, int]) -> None:
    """So many requests wait in each replica, and the store is being waited for."""
    for api, count in replicas:
        await api.hears.wait()

        async def joined(api: ApiRig = api, count: int = count) -> bool:
            return api.pulling.leasing.polls.count == count

        await eventually(joined)
    await until_blocked(rig.client, len(replicas))


async def lease(api: ApiRig, **asked: Any) -> list[str]:
    response = await api.http.post("/v1/leases", json=asked)
    assert response.status_code == 200, response.text
    return [job["id"] for job in response.json()["jobs"]]


async def enqueue(rig: Rig, types: str) -> list[str]:
    """As another process does, of which this one hears by the marker alone."""
    return await add_types(rig, types, now=0)


async def put_aside(rig: Rig, count: int) -> list[str]:
    """Set jobs of the type `b` aside as another replica does. This one hears of it only by the marker of the type."""
    jobs = [rig.new_id() for _ in range(count)]
    pipeline = rig.client.pipeline(transaction=True)
    for job_id in jobs:
        pipeline.set(rig.keys.job(job_id), 'r=1\n{"type":"b"}')
    pipeline.rpush(rig.keys.aside("default", "default", "b"), *jobs)
    pipeline.zadd(rig.keys.wake_type("default", "b"), {"m": 0})
    await pipeline.execute()
    return jobs


# --- claims ------------------------------------------------------------------------------------------------------


async def test_only_the_types_that_are_named_are_leased(rig: Rig, api: ApiRig) -> None:
    a1, b1, a2, c1 = await enqueue(rig, "abac")
    assert await lease(api, max=9, types=["a"]) == [a1, a2]
    assert (await aside(rig, "b"), await aside(rig, "c")) == ([b1], [c1])
    for job_id in (b1, c1):
        shown = await api.job(job_id)
        assert (shown["status"], shown["attempts"], shown["crashes"]) == ("queued", 0, 0)


async def test_max_bounds_rooms_that_add_up_to_more(rig: Rig, api: ApiRig) -> None:
    a1, b1, a2, b2 = await enqueue(rig, "abab")
    room = [{"jobs": 2, "types": ["a"]}, {"jobs": 2, "types": ["b"]}]
    assert await lease(api, max=3, room=room) == [a1, b1, a2]
    assert await lease(api, max=1, room=room) == [b2]
    assert await names(rig) is None, "nothing was set aside"


async def test_workers_with_disjoint_types_share_a_queue(rig: Rig, api: ApiRig) -> None:
    jobs = await enqueue(rig, "ab" * 5)
    async with replica(rig) as other:
        got = [await lease(other, max=2, types=["b"]), await lease(api, max=9, types=["a"])]
        got += [await lease(other, max=9, types=["b"])]
    assert got == [jobs[1:4:2], jobs[::2], jobs[5::2]]


async def test_a_worker_without_types_takes_every_type(rig: Rig, api: ApiRig, faulty: FaultyScripts) -> None:
    a1, b1, a2 = await enqueue(rig, "aba")
    assert await lease(api, types=["c"]) == []
    faulty.calls.clear()
    assert sorted(await lease(api, max=9)) == sorted([a1, b1, a2])
    assert [name for name, _ in faulty.calls] == ["claim_typed"], "it was told of the lists before"


async def test_a_replica_that_has_heard_of_no_list_asks_again_by_name(
    rig: Rig, api: ApiRig, faulty: FaultyScripts
) -> None:
    (b1,) = await set_aside(rig, "b", now=0)
    scripts = FaultyScripts()
    async with replica(rig, scripts) as new:
        assert await lease(new) == [b1]
    assert [name for name, _ in scripts.calls if name.startswith("claim")] == ["claim", "claim_typed"]
    first, second = scripts.arguments("claim")[0], scripts.arguments("claim_typed")[0]
    assert first[1] == second[1], "with the same claim id"


async def test_a_worker_without_types_makes_the_plain_claim_until_there_is_a_list(
    rig: Rig, api: ApiRig, faulty: FaultyScripts
) -> None:
    (a1,) = await enqueue(rig, "a")
    faulty.calls.clear()
    assert await lease(api) == [a1]
    assert [name for name, _ in faulty.calls] == ["claim"]
    (b1,) = await set_aside(rig, "b", now=0)
    await eventually_known(api, "b")
    faulty.calls.clear()
    assert await lease(api) == [b1]
    assert [name for name, _ in faulty.calls] == ["claim_typed"]
    await rig.broker.maintenance.tidy_asides(rig.shard)
    assert await lease(api) == []
    (c1,) = await enqueue(rig, "c")
    faulty.calls.clear()
    assert await lease(api) == [c1]
    assert [name for name, _ in faulty.calls] == ["claim"], "the names have gone"


async def eventually_known(api: ApiRig, name: str) -> None:
    async def known() -> bool:
        return name in api.pulling.leasing.polls.known.types(0, "default")

    await eventually(known)


async def test_a_server_whose_app_lacks_the_type_beside_a_worker_without_types(rig: Rig, api: ApiRig) -> None:
    """The server sets aside what it does not know; the worker takes it, and is woken for it."""
    poller = Poller(api, worker="p1")
    await waiting(rig, (api, 1))
    await rig.client.delete(rig.keys.wake("default"))
    (x1,) = await add_types(rig, "x", now=0)
    assert not (await rig.claim_typed(room=[Room(1, ["none"])], others=False, now=0)).jobs
    assert await poller.jobs() == [x1]


async def test_types_that_change_between_claims(rig: Rig, api: ApiRig) -> None:
    a1, b1, c1, b2 = await enqueue(rig, "abcb")
    assert await lease(api, max=9, worker="p1", types=["a"]) == [a1]
    assert await lease(api, max=9, worker="p1", types=["b"]) == [b1, b2]
    a2, c2 = await enqueue(rig, "ac")
    assert await lease(api, max=9, worker="p1", types=["c"]) == [c1, c2]
    assert await lease(api, max=9, worker="p1") == [a2]
    (row,) = api.pulling.workers.rows()
    assert row.types == [], "it took every type a moment ago"


async def test_room_bounds_the_jobs_of_its_types(rig: Rig, api: ApiRig) -> None:
    a1, b1, a2, b2, c1 = await enqueue(rig, "ababc")
    room = [{"jobs": 1, "types": ["a"]}, {"jobs": 0, "types": ["b"]}]
    assert await lease(api, max=9, types=["a", "b", "c"], room=room) == [a1, c1]
    assert (await aside(rig, "a"), await aside(rig, "b")) == ([a2], [b1, b2])
    assert await lease(api, max=9, room=[{"jobs": 2, "types": ["b"]}]) == [b1, b2]
    assert await lease(api, max=9, types=["a"]) == [a2]


async def test_many_jobs_of_other_types_do_not_hide_those_behind_them(rig: Rig, api: ApiRig) -> None:
    others = await rig.add(350, now=0, body='{"type":"b"}')
    (a1,) = await enqueue(rig, "a")
    assert await lease(api, types=["a"]) == [a1]
    assert await aside(rig, "b") == others


async def test_the_calls_of_one_claim_are_bounded(rig: Rig, api: ApiRig, faulty: FaultyScripts) -> None:
    await rig.add(100 * MAX_TURNS + 50, now=0, body='{"type":"b"}')
    await enqueue(rig, "a")
    faulty.calls.clear()
    assert await lease(api, types=["a"]) == []
    assert [name for name, _ in faulty.calls] == ["claim_typed"] * MAX_TURNS
    assert await rig.marked(), "the next worker goes on"


async def test_the_same_claim_id_brings_the_same_jobs(rig: Rig, api: ApiRig) -> None:
    a1, _, a2 = await enqueue(rig, "aba")
    asked = {"max": 9, "types": ["a"], "claim_id": "mine"}
    assert await lease(api, **asked) == await lease(api, **asked) == [a1, a2]
    assert await lease(api, max=9, claim_id="mine", types=["b"]) == [a1, a2], "whatever it asks for now"


async def test_a_claim_whose_reply_was_lost_is_repeated(rig: Rig, api: ApiRig, faulty: FaultyScripts) -> None:
    a1, _ = await enqueue(rig, "ab")
    faulty.replies_to_drop["claim_typed"] = 1
    assert await lease(api, max=9, types=["a"], claim_id="mine") == [a1]
    assert (await api.job(a1))["status"] == "running"


async def test_a_worker_of_one_type_is_shown_with_it(api: ApiRig) -> None:
    await lease(api, worker="p1", types=["b", "a"], room=[{"jobs": 1, "types": ["c"]}])
    await lease(api, worker="p2")
    rows = {row.name: row.types for row in api.pulling.workers.rows()}
    assert rows == {"p1": ["a", "b", "c"], "p2": []}


# --- waking ------------------------------------------------------------------------------------------------------


async def test_a_request_is_woken_for_its_type_however_the_others_wait(rig: Rig, api: ApiRig) -> None:
    pollers = {name: Poller(api, types=[name]) for name in "abc"}
    await waiting(rig, (api, 3))
    for name in "cab":
        (job_id,) = await enqueue(rig, name)
        assert await pollers[name].jobs() == [job_id]


async def test_a_request_of_another_replica_hears_of_the_new_name(rig: Rig, api: ApiRig) -> None:
    async with replica(rig) as other:
        mine, its = Poller(api, types=["a"]), Poller(other, types=["b"])
        await waiting(rig, (api, 1), (other, 1))
        for _ in range(3):  # whichever of the two takes the marker
            (b1,) = await enqueue(rig, "b")
            assert await its.jobs() == [b1]
            its = Poller(other, types=["b"])
            await waiting(rig, (api, 1), (other, 1))
        (a1,) = await enqueue(rig, "a")
        assert await mine.jobs() == [a1]
        its.hang_up()
        await its.ended()


async def test_the_marker_of_a_type_wakes_a_request_that_knows_its_list(
    rig: Rig, api: ApiRig, faulty: FaultyScripts
) -> None:
    await set_aside(rig, "b", now=0)
    assert len(await lease(api, types=["b"])) == 1
    poller = Poller(api, types=["b"])
    await waiting(rig, (api, 1))
    (b2,) = await put_aside(rig, 1)
    assert await names(rig) == " d:b", "the name is not new, so nothing was published"
    assert await poller.jobs() == [b2]
    assert faulty.arguments("claim_typed")[-1][WOKEN] == ["b"]


async def test_a_request_for_another_known_type_joins_the_wait_that_is_under_way(rig: Rig, api: ApiRig) -> None:
    await set_aside(rig, "b", now=0)
    await eventually_known(api, "b")
    assert len(await lease(api, types=["b"])) == 1
    first = Poller(api, types=["a"])
    await waiting(rig, (api, 1))
    second = Poller(api, types=["b"])
    await waiting(rig, (api, 2))
    assert await put_aside(rig, 1) == await second.jobs()
    first.hang_up()
    await first.ended()


async def test_a_marker_goes_back_while_jobs_of_the_type_are_left(rig: Rig, api: ApiRig) -> None:
    await set_aside(rig, "b", now=0)
    await eventually_known(api, "b")
    assert len(await lease(api, types=["b"])) == 1
    pollers = [Poller(api, types=["b"]) for _ in range(3)]
    await waiting(rig, (api, 3))
    jobs = await put_aside(rig, 3)
    assert sorted([(await poller.jobs())[0] for poller in pollers]) == sorted(jobs)


async def test_a_marker_that_no_request_here_can_use_goes_back(rig: Rig, api: ApiRig) -> None:
    """It is popped at the moment at which the only request for the type goes."""
    await set_aside(rig, "b", now=0)
    await eventually_known(api, "b")
    polls = api.pulling.leasing.polls
    assert not polls.wake(0, "default", "b")
    (waker,) = api.pulling.wakers
    await waker.hand_on(0, "default", "b")
    assert await rig.client.zpopmin(rig.keys.wake_type("default", "b"))


async def test_a_request_that_was_woken_wrongly_waits_again_and_loses_nothing(
    rig: Rig, api: ApiRig, faulty: FaultyScripts
) -> None:
    poller = Poller(api, types=["a"])
    await waiting(rig, (api, 1))
    faulty.calls.clear()
    (b1,) = await enqueue(rig, "b")

    async def moved() -> bool:
        return await aside(rig, "b") == [b1]

    await eventually(moved)
    await waiting(rig, (api, 1))
    assert (await api.job(b1))["attempts"] == 0
    assert bool(await rig.client.exists(rig.keys.wake_type("default", "b"))), "its marker is there for who knows it"
    (a1,) = await enqueue(rig, "a")
    assert await poller.jobs() == [a1]


async def test_a_job_that_waits_begins_once_a_worker_with_its_type_comes(rig: Rig, api: ApiRig) -> None:
    """Nobody knew it before; the first request with its type takes it at once."""
    poller = Poller(api, types=["a"])
    await waiting(rig, (api, 1))
    b1, b2 = await enqueue(rig, "bb")

    async def moved() -> bool:
        return await aside(rig, "b") == [b1, b2]

    await eventually(moved)
    async with replica(rig) as new:
        assert await lease(new, max=9, types=["b"]) == [b1, b2]
    poller.hang_up()
    await poller.ended()


# --- offers ------------------------------------------------------------------------------------------------------


async def test_an_enqueue_is_offered_only_to_a_request_that_takes_its_type(
    rig: Rig, api: ApiRig, faulty: FaultyScripts
) -> None:
    first, second = Poller(api, types=["b"]), Poller(api, types=["a"])
    await waiting(rig, (api, 2))
    faulty.calls.clear()
    job_id = await api.submit(type="a")
    assert await second.jobs() == [job_id]
    assert [name for name, _ in faulty.calls] == ["enqueue"], "the enqueue brought it"
    other = await api.submit(type="b")
    assert await first.jobs() == [other]


async def test_an_offer_is_for_as_many_jobs_as_there_is_room_for_each_type(
    rig: Rig, api: ApiRig, faulty: FaultyScripts
) -> None:
    room = [{"jobs": 2, "types": ["a"]}, {"jobs": 3, "types": ["b"]}]
    poller = Poller(api, max=9, types=["a", "b", "c"], room=room)
    await waiting(rig, (api, 1))
    batch = [{"type": name} for name in "bab"]
    response = await api.http.post("/v1/jobs/batch", json=batch)
    assert response.status_code == 200, response.text
    assert len(await poller.jobs()) in (2, 3)
    offered = [arguments[4][3] for arguments in faulty.arguments("enqueue") if len(arguments) > 4 and arguments[4]]
    assert offered == [2]


async def test_there_is_no_offer_while_the_queue_has_a_list(rig: Rig, api: ApiRig, faulty: FaultyScripts) -> None:
    (b1,) = await set_aside(rig, "b", now=0)
    await eventually_known(api, "b")
    poller = Poller(api, types=["a"])
    await waiting(rig, (api, 1))
    faulty.calls.clear()
    job_id = await api.submit(type="a")
    assert await poller.jobs() == [job_id]
    (arguments,) = faulty.arguments("enqueue")
    assert arguments[4:] in ([], [None])
    assert await aside(rig, "b") == [b1]


# --- many and double types ----------------------------------------------------------------------------------------


async def test_a_type_that_is_named_twice_counts_once(rig: Rig, api: ApiRig, faulty: FaultyScripts) -> None:
    assert await lease(api, types=["a", "b", "a"], room=[{"jobs": 1, "types": ["b", "b"]}]) == []
    assert faulty.arguments("claim_typed")[0][ROOM] == [[1, ["b"]], [1, ["a"]]]


async def test_a_thousand_types_are_taken(rig: Rig, api: ApiRig) -> None:
    types = [f"t{i}" for i in range(1000)]
    (job_id,) = await rig.add(now=0, body='{"type":"t999"}')
    (other,) = await rig.add(now=0, body='{"type":"u"}')
    assert await lease(api, max=9, types=types) == [job_id]
    assert await aside(rig, "u") == [other]

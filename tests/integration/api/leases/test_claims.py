"""POST /v1/leases over a real store: which jobs a pull worker gets, and what it gets of them."""

from __future__ import annotations

import pytest

from queuey.store.broker.broker import Broker
from tests.support.http import ApiRig, api_over, keys
from tests.support.pull.leasing import COMPLETE, LEASES, held, lease, report
from tests.support.store import Rig
from tests.support.working import FaultyScripts, eventually


async def test_a_job_goes_out_with_what_a_worker_needs_and_no_more(api: ApiRig) -> None:
    job_id = await api.submit(type="mail", payload={"to": [1, None]})
    (job,) = await lease(api)
    assert job.keys() == {"id", "token", "type", "payload", "attempt", "lease_expires_at"}
    assert (job["id"], job["type"], job["payload"], job["attempt"]) == (job_id, "mail", {"to": [1, None]}, 1)
    shown = await api.job(job_id)
    assert (shown["status"], shown["worker"]) == ("running", "anonymous-127.0.0.1")


async def test_what_is_set_goes_out_too(api: ApiRig) -> None:
    await api.submit(queue="mail", timeout=12, max_attempts=9, payload=12345678901234567890123)
    response = await api.http.post(LEASES, json={"queues": ["mail"], "worker": "bash-1"})
    assert '"payload":12345678901234567890123' in response.text
    (job,) = response.json()["jobs"]
    assert (job["queue"], job["timeout"], job["max_attempts"]) == ("mail", 12, 9)
    assert (await api.job(job["id"]))["worker"] == "bash-1"


async def test_nothing_to_do_is_an_empty_list(api: ApiRig) -> None:
    await api.submit(queue="other")
    await api.submit(delay=60)
    assert await lease(api, max=500) == []


async def test_as_many_as_asked_for_from_all_shards_and_queues(api: ApiRig) -> None:
    sent = {await api.submit(queue=queue) for queue in ("a", "b") for _ in range(10)}
    some = await lease(api, queues=["a", "b", "a"], max=15)
    rest = await lease(api, queues=["b", "a"], max=500)
    assert (len(some), len(rest)) == (15, 5)
    assert {job["id"] for job in some + rest} == sent


@pytest.mark.parametrize("shards", [2], ids=["2shards"])
@pytest.mark.parametrize("with_claim_id", [False, True])
async def test_queues_take_turns_on_each_shard(rig: Rig, api: ApiRig, with_claim_id: bool) -> None:
    """Shards take turns too. With as many queues, none may always be the first of its shard."""
    places: dict[str, tuple[int, str]] = {}
    for rig.shard in range(2):
        for queue in ("a", "b"):
            places |= dict.fromkeys(await rig.add(3, now=0, queue=queue), (rig.shard, queue))
    order = ["", ""]
    for number in range(len(places)):
        (job,) = await lease(api, queues=["a", "b"], **({"claim_id": f"claim-{number}"} if with_claim_id else {}))
        shard, queue = places[job["id"]]
        order[shard] += queue
    assert set(order) <= {"ababab", "bababa"}


async def test_the_same_claim_id_brings_the_same_jobs(api: ApiRig) -> None:
    for _ in range(12):
        await api.submit()
    asked = {"max": 5, "claim_id": "mine-1", "lease": 60}
    first = await lease(api, **asked)
    again = await lease(api, **asked)
    assert len(first) == 5
    assert {(job["id"], job["token"]) for job in first} == {(job["id"], job["token"]) for job in again}
    other = await lease(api, max=500, claim_id="mine-2")
    assert len(other) == 7
    assert not {job["id"] for job in other} & {job["id"] for job in first}
    (done,) = await report(api, COMPLETE, held(first[0]))
    assert done["status"] == "ok"
    assert {job["id"] for job in await lease(api, **asked)} == {job["id"] for job in first[1:]}


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_a_claim_id_whose_jobs_are_all_done_brings_no_others(api: ApiRig) -> None:
    first, _ = [await api.submit() for _ in range(2)]
    (job,) = await lease(api, claim_id="mine")
    assert job["id"] == first
    await report(api, COMPLETE, held(job))
    assert await lease(api, claim_id="mine", wait=60) == []


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_a_first_claim_that_leaves_due_jobs_is_not_taken_for_a_repeat(rig: Rig) -> None:
    """It stops at its limit, and more jobs are due than one claim promotes."""
    scripts = FaultyScripts()
    await rig.add(300, now=1, delay_ms=1)
    async with api_over(Broker(rig.broker.shards, scripts)) as api:
        assert len(await lease(api, claim_id="mine")) == 1
        assert [name for name, _ in scripts.calls] == ["claim"], "no extend"
        assert len(await lease(api, claim_id="mine")) == 1
        assert [name for name, _ in scripts.calls] == ["claim", "claim", "extend"]


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_a_first_claim_that_meets_only_cancelled_jobs_goes_on_waiting(rig: Rig, api: ApiRig) -> None:
    for _ in range(2):
        cancelled = await rig.add(500, now=0)
        await rig.broker.jobs.cancel(rig.shard, cancelled)
    await rig.add(300, now=1, delay_ms=1)
    assert len(await lease(api, claim_id="mine", wait=60)) == 1


async def test_a_claim_id_is_good_for_its_own_key_alone(rig: Rig) -> None:
    async with api_over(rig.broker, keys(one="work+submit", two="work")) as api:
        await api.http.post("/v1/jobs", json={"type": "t"}, headers={"x-api-key": "one"})
        for key, count in (("one", 1), ("two", 0), ("one", 1)):
            response = await api.http.post(LEASES, json={"claim_id": "same"}, headers={"x-api-key": key})
            assert len(response.json()["jobs"]) == count


async def test_at_most_one_job_that_has_crashed_a_worker_goes_out_at_a_time(rig: Rig, api: ApiRig) -> None:
    suspects = [await _crashed(rig) for _ in range(3)]
    await api.submit()
    jobs = await lease(api, max=500)
    assert len([job for job in jobs if job["id"] in suspects]) == 1
    assert [job["crashes"] for job in jobs if "crashes" in job] == [1]


async def test_who_holds_a_job_that_has_crashed_a_worker_gets_no_other_meanwhile(rig: Rig, api: ApiRig) -> None:
    suspects = [await _crashed(rig, queue) for queue in ("a", "b", "c", "d")]
    (first,) = await lease(api, worker="w", queues=["a"])
    normal = await api.submit(queue="b")
    assert [job["id"] for job in await lease(api, worker="w", queues=["b"], max=500)] == [normal]
    assert [job["id"] for job in await lease(api, worker="v", queues=["c"])] == [suspects[2]]
    await report(api, COMPLETE, held(first))
    assert [job["id"] for job in await lease(api, worker="w", queues=["d"])] == [suspects[3]]


async def _crashed(rig: Rig, queue: str = "default") -> str:
    (job_id,) = await rig.add(now=0, queue=queue)
    await rig.claim(now=0, lease_ms=1, limit=500, queues=[queue])

    async def lapsed() -> bool:
        return bool((await rig.broker.maintenance.reap(rig.shard, 10, [0])).outcomes)

    await eventually(lapsed)
    await rig.broker.maintenance.promote(rig.shard, 10)
    return job_id


async def test_a_job_that_cannot_be_read_is_buried_and_not_handed_out(rig: Rig, api: ApiRig) -> None:
    (broken,) = await rig.add(now=0, body='{"type":')
    good = (await rig.add(now=0))[0]
    assert [job["id"] for job in await lease(api, max=10)] == [good]

    async def buried() -> bool:
        return (await rig.state(broken)).get("s") == "d"

    await eventually(buried)

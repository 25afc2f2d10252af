"""A request that waits for leases makes an offer, which goes with an enqueue of its own process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from queuey.services.jobs import offers
from queuey.store import wakeups as waking
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over, moment
from tests.support.pull.poller import Poller
from tests.support.store import Moves, Rig, Server, client_for
from tests.support.stores import one_of
from tests.support.working import PATIENCE, ROUND, FaultyScripts, eventually, until_blocked

OFFER = 4
"""The place of an offer in the arguments of `enqueue`."""
shards = one_of(1)


@pytest.fixture(autouse=True)
def long_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens within QUICKLY was told, and not found by looking again."""
    monkeypatch.setattr(waking, "BLOCK_SECONDS", ROUND)


@pytest.fixture
def scripts() -> FaultyScripts:
    return FaultyScripts()


@pytest.fixture
async def api(rig: Rig, scripts: FaultyScripts) -> AsyncIterator[ApiRig]:
    async with opened(rig, scripts) as api:
        yield api


@asynccontextmanager
async def opened(rig: Rig, scripts: FaultyScripts, **settings: Any) -> AsyncIterator[ApiRig]:
    """An API whose requests are woken by markers too. The queue `default` is known."""
    await rig.client.sadd(rig.keys.queues, "default")
    shards = rig.broker.shards
    broker = Broker(Shards(shards.client, shards.count), scripts, Moves())
    async with api_over(broker, woken=True, **{"request_deadline": 5.0, **settings}) as api:
        yield api


async def waiting(rig: Rig, api: ApiRig, scripts: FaultyScripts, *pollers: Poller) -> None:
    """All of these wait, and the store is being waited for. Forgets the calls until then."""

    async def joined() -> bool:
        return api.pulling.leasing.polls.count == len(pollers)

    await eventually(joined)
    await until_blocked(rig.client, 1)
    scripts.calls.clear()


def called(scripts: FaultyScripts) -> list[str]:
    return [name for name, _ in scripts.calls]


def offered(scripts: FaultyScripts) -> list[Any]:
    """The offer of each enqueue, None if it had none."""
    return [each[OFFER] if len(each) > OFFER else None for each in scripts.arguments("enqueue")]


def body(poller: Poller) -> list[dict[str, Any]]:
    return list(json.loads(poller.messages[1]["body"])["jobs"])


async def assert_untouched(rig: Rig, api: ApiRig, job_id: str) -> None:
    """It waits again, and its claim has cost it nothing."""

    async def back() -> bool:
        return await rig.waiting() == [job_id]

    await eventually(back)
    shown = await api.job(job_id)
    assert (shown["status"], shown["attempts"], shown["crashes"]) == ("queued", 0, 0)


async def test_one_script_brings_the_job_to_a_request_that_waits(rig: Rig, api: ApiRig, scripts: FaultyScripts) -> None:
    poller = Poller(api, worker="p1", queues=["mail", "default"], max=3, lease=40)
    await waiting(rig, api, scripts, poller)
    before = datetime.now(UTC)
    job_id = await api.submit(payload={"n": 1})
    assert await poller.jobs() == [job_id]
    assert called(scripts) == ["enqueue"]
    assert not await rig.marked()
    moves: Any = api.broker.observer
    assert moves == [(job_id, "queued"), (job_id, "running")]
    ((claim_id, worker, lease_ms, limit, queues, _),) = offered(scripts)
    assert (worker, lease_ms, limit, queues) == ("p1", 40_000, 3, ["mail", "default"])
    (job,) = body(poller)
    assert (job["payload"], job["attempt"], job["token"]) == ({"n": 1}, 1, f"1.{claim_id}")
    assert moment(job["lease_expires_at"]) <= before + timedelta(seconds=41)
    (row,) = api.pulling.workers.rows()
    assert (row.name, row.busy, row.jobs) == ("p1", 1, [job_id])
    done = await api.http.post("/v1/leases/complete", json={"id": job_id, "token": job["token"]})
    assert done.status_code == 200


async def test_each_request_gets_its_own_job(rig: Rig, api: ApiRig, scripts: FaultyScripts) -> None:
    pollers = [Poller(api) for _ in range(3)]
    await waiting(rig, api, scripts, *pollers)
    jobs = [await api.submit() for _ in range(3)]
    assert [await poller.jobs() for poller in pollers] == [[job_id] for job_id in jobs]
    assert called(scripts) == ["enqueue"] * 3


async def test_more_jobs_than_the_first_request_takes_go_to_the_others(
    rig: Rig, api: ApiRig, scripts: FaultyScripts
) -> None:
    pollers = [Poller(api, max=2) for _ in range(2)]
    await waiting(rig, api, scripts, *pollers)
    response = await api.http.post("/v1/jobs/batch", json=[{"type": "t"}] * 3)
    assert response.status_code == 200, response.text
    got = [await poller.jobs() for poller in pollers]
    assert sorted(map(len, got)) == [1, 2]
    assert len({job_id for jobs in got for job_id in jobs}) == 3


async def test_the_clients_claim_id_brings_the_same_jobs_again(rig: Rig, api: ApiRig, scripts: FaultyScripts) -> None:
    poller = Poller(api, claim_id="mine")
    await waiting(rig, api, scripts, poller)
    job_id = await api.submit()
    assert await poller.jobs() == [job_id]
    again = Poller(api, claim_id="mine")
    assert await again.jobs() == [job_id]
    assert body(again)[0]["token"] == body(poller)[0]["token"]
    assert called(scripts)[0] == "enqueue"


async def test_a_paused_queue_gives_nothing(rig: Rig, api: ApiRig, scripts: FaultyScripts) -> None:
    await rig.broker.queues.pause(0, "default", "why")
    poller = Poller(api)
    await waiting(rig, api, scripts, poller)
    job_id = await api.submit()
    await waiting_again(api, scripts)
    assert await rig.waiting() == [job_id]
    await rig.broker.queues.resume(0, "default")
    assert await poller.jobs() == [job_id]


async def test_a_quiet_pull_worker_makes_no_offer(rig: Rig, api: ApiRig, scripts: FaultyScripts) -> None:
    poller, other = Poller(api, worker="q"), Poller(api, worker="w")
    await waiting(rig, api, scripts, poller, other)
    api.pulling.workers.set_quiet({"anonymous/q"})
    job_id = await api.submit()
    assert offered(scripts) == [None]
    assert await other.jobs() == [job_id]
    poller.hang_up()
    await poller.ended()


async def test_a_request_with_a_claim_id_makes_no_offer_to_one_of_several_shards(server: Server) -> None:
    """It has to ask the other shards first, since the claim id may have jobs there."""
    client, scripts = client_for(server.url), FaultyScripts()
    await client.flushall()
    rig = Rig(client, 3, scripts)
    for keys in rig.broker.shards.keys:
        await rig.client.sadd(keys.queues, "default")
    async with opened(rig, scripts) as api:
        mine = Poller(api, claim_id="mine")
        await waiting(rig, api, scripts, mine)
        jobs = [await api.submit()]
        assert await mine.jobs() == jobs
        free = Poller(api)
        await waiting(rig, api, scripts, free)
        jobs.append(await api.submit())
        assert await free.jobs() == jobs[1:]
        assert called(scripts) == ["enqueue"]
    await client.aclose()


# --- lost replies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim_id", [None, "mine"])
async def test_a_reply_that_was_lost_after_the_script_ran(
    rig: Rig, api: ApiRig, scripts: FaultyScripts, claim_id: str | None
) -> None:
    poller = Poller(api, **({"claim_id": claim_id} if claim_id else {}))
    await waiting(rig, api, scripts, poller)
    scripts.replies_to_drop["enqueue"] = 1
    job_id = await api.submit()
    assert await poller.jobs() == [job_id]
    assert called(scripts) == ["enqueue", "enqueue", "claim", "extend"]
    first, again = offered(scripts)
    assert first == again
    assert scripts.arguments("claim")[0][1] == first[0]
    assert (await rig.state(job_id))["n"] == "1"
    assert (await api.job(job_id))["crashes"] == 0


async def test_a_call_that_was_lost_before_the_script_ran(rig: Rig, api: ApiRig, scripts: FaultyScripts) -> None:
    poller = Poller(api)
    await waiting(rig, api, scripts, poller)
    scripts.calls_to_lose["enqueue"] = 1
    job_id = await api.submit()
    assert await poller.jobs() == [job_id]
    assert called(scripts) == ["enqueue", "enqueue"]


async def test_an_enqueue_that_was_given_up_is_asked_for(
    rig: Rig, scripts: FaultyScripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "PATIENCE", 0.02)
    async with opened(rig, scripts, request_deadline=0.1, store_timeout=0.1) as api:
        poller = Poller(api)
        await waiting(rig, api, scripts, poller)
        scripts.replies_to_drop["enqueue"] = 1_000
        response = await api.http.post("/v1/jobs", json={"type": "t"})
        assert response.status_code == 503
        (job_id,) = await poller.jobs()
        assert scripts.arguments("claim")[0][1] == offered(scripts)[0][0]
        assert (await api.job(job_id))["crashes"] == 0
        scripts.replies_to_drop.clear()


async def test_what_cannot_be_asked_for_goes_back_later(
    rig: Rig, scripts: FaultyScripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is away when the request asks, so the request ends, and its client knows no claim id."""
    monkeypatch.setattr(offers, "PATIENCE", 0.02)
    monkeypatch.setattr("queuey.services.leases.returns.RECOVERY_PAUSE", 0.02)
    async with opened(rig, scripts, request_deadline=0.1, store_timeout=0.1) as api:
        poller = Poller(api)
        await waiting(rig, api, scripts, poller)
        gate = scripts.gates["enqueue"] = asyncio.Event()
        scripts.replies_to_drop["enqueue"] = 1
        enqueued = asyncio.create_task(api.http.post("/v1/jobs", json={"type": "t"}))
        assert await scripts.waiting.get() == "enqueue"
        scripts.down = True
        gate.set()
        assert (await enqueued).status_code == 503
        await poller.ended()
        assert poller.messages[0]["status"] == 503
        scripts.down = False
        ((_, (job_id, *_)),) = [(queue, ids) for queue, _, _, ids, _ in scripts.arguments("enqueue")[0][2]]
        await assert_untouched(rig, api, job_id)


# --- requests that end while an offer is out -----------------------------------------------------------------------


async def held_back(api: ApiRig, scripts: FaultyScripts) -> tuple[asyncio.Event, asyncio.Task[httpx.Response]]:
    """Enqueue a job. The script has run, and its reply waits for the event."""
    gate = scripts.gates["enqueue"] = asyncio.Event()
    enqueued = asyncio.create_task(api.http.post("/v1/jobs", json={"type": "t"}))
    assert await scripts.waiting.get() == "enqueue"
    return gate, enqueued


async def job_of(enqueued: asyncio.Task[httpx.Response]) -> str:
    return str((await enqueued).json()["job_id"])


@pytest.mark.parametrize("lost", [0, 1])
async def test_the_jobs_of_a_client_that_has_hung_up_go_back(
    rig: Rig, api: ApiRig, scripts: FaultyScripts, lost: int
) -> None:
    poller = Poller(api)
    await waiting(rig, api, scripts, poller)
    scripts.replies_to_drop["enqueue"] = lost
    gate, enqueued = await held_back(api, scripts)
    poller.hang_up()
    await asyncio.sleep(0)
    gate.set()
    await poller.ended()
    assert poller.messages == []
    await assert_untouched(rig, api, await job_of(enqueued))


async def test_a_wait_whose_time_ends_meanwhile_has_the_job_in_its_answer(
    rig: Rig, api: ApiRig, scripts: FaultyScripts
) -> None:
    poller = Poller(api, wait=2.0)  # enough for the next two lines on a busy machine
    await waiting(rig, api, scripts, poller)
    gate, enqueued = await held_back(api, scripts)
    ends = asyncio.get_running_loop().time() + 2.0

    async def over() -> bool:
        return asyncio.get_running_loop().time() > ends

    await eventually(over)
    assert not poller.task.done()
    gate.set()
    assert await poller.jobs() == [await job_of(enqueued)]


async def test_a_drain_meanwhile_lets_the_job_out(rig: Rig, api: ApiRig, scripts: FaultyScripts) -> None:
    poller = Poller(api)
    await waiting(rig, api, scripts, poller)
    gate, enqueued = await held_back(api, scripts)
    api.pulling.leasing.drain()
    gate.set()
    assert await poller.jobs() == [await job_of(enqueued)]


async def test_a_worker_that_becomes_quiet_meanwhile_gets_the_job(
    rig: Rig, api: ApiRig, scripts: FaultyScripts
) -> None:
    poller = Poller(api, worker="q")
    await waiting(rig, api, scripts, poller)
    gate, enqueued = await held_back(api, scripts)
    api.pulling.workers.set_quiet({"anonymous/q"})
    gate.set()
    assert await poller.jobs() == [await job_of(enqueued)]


async def test_a_request_that_was_replaced_meanwhile(rig: Rig, api: ApiRig, scripts: FaultyScripts) -> None:
    """Both have the claim id of the offer, and both get its job."""
    first = Poller(api, claim_id="mine")
    await waiting(rig, api, scripts, first)
    gate, enqueued = await held_back(api, scripts)
    second = Poller(api, claim_id="mine")
    job_id = (await second.jobs())[0]
    gate.set()
    assert await first.jobs() == [job_id]
    assert await job_of(enqueued) == job_id
    assert (await api.job(job_id))["status"] == "running"


@pytest.mark.parametrize("is_away", [False, True])
async def test_the_job_of_a_request_that_was_replaced_is_for_the_one_in_its_place(
    rig: Rig, api: ApiRig, scripts: FaultyScripts, is_away: bool
) -> None:
    """The offer of the first comes true after the claim of the second. The client of the first may be gone.

    A third request waits longer than the second, so that one is woken for the job, in vain.
    """
    first, third = Poller(api, claim_id="mine"), Poller(api)
    await waiting(rig, api, scripts, first, third)
    scripts.calls_to_lose["enqueue"] = 1_000
    enqueued = asyncio.create_task(api.http.post("/v1/jobs", json={"type": "t"}))

    async def under_way() -> bool:
        return "enqueue" in called(scripts)

    await eventually(under_way)
    second = Poller(api, claim_id="mine")

    async def both_wait() -> bool:
        return api.pulling.leasing.polls.count == 2

    await eventually(both_wait)
    if is_away:
        first.hang_up()
    scripts.calls_to_lose.clear()
    job_id = await job_of(enqueued)
    assert await second.jobs() == [job_id]
    await first.ended()
    assert (await rig.state(job_id))["n"] == "1"
    done = await api.http.post("/v1/leases/complete", json={"id": job_id, "token": body(second)[0]["token"]})
    assert done.status_code == 200
    third.hang_up()
    await third.ended()


async def test_the_one_in_its_place_claims_again_if_it_was_claiming(
    rig: Rig, api: ApiRig, scripts: FaultyScripts
) -> None:
    """Its claim found nothing, but the reply comes after the job of the offer."""
    first = Poller(api, claim_id="mine")
    await waiting(rig, api, scripts, first)
    scripts.calls_to_lose["enqueue"] = 1_000
    enqueued = asyncio.create_task(api.http.post("/v1/jobs", json={"type": "t"}))
    gate = scripts.gates["claim"] = asyncio.Event()

    async def is_out() -> bool:
        return api.pulling.leasing.polls.count == 0

    await eventually(is_out)
    second = Poller(api, claim_id="mine")
    assert await scripts.waiting.get() == "claim"
    scripts.calls_to_lose.clear()
    job_id = await job_of(enqueued)
    assert await first.jobs() == [job_id]
    gate.set()
    assert await second.jobs() == [job_id]


async def waiting_again(api: ApiRig, scripts: FaultyScripts) -> None:
    """The request has claimed in vain, and waits again."""

    async def again() -> bool:
        return "claim" in called(scripts) and api.pulling.leasing.polls.count == 1

    await eventually(again, within=PATIENCE)

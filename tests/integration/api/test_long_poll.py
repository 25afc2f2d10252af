"""POST /v1/leases with a wait: woken by work, ended by the time, and nothing is lost with a client that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queuey.services.leases.long_polls import Poll, Wake
from queuey.store import wakeups as waking
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over
from tests.support.pull.poller import Poller
from tests.support.store import Rig, Server
from tests.support.stores import SHARDS, one_of
from tests.support.working import PATIENCE, ROUND, FaultyScripts, eventually, until_blocked

shards = one_of(*SHARDS)


@pytest.fixture(autouse=True)
def long_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens within QUICKLY was told, and not found by looking again."""
    monkeypatch.setattr(waking, "BLOCK_SECONDS", ROUND)


@pytest.fixture
async def scripts() -> FaultyScripts:
    return FaultyScripts()


@pytest.fixture
async def api(rig: Rig, scripts: FaultyScripts) -> AsyncIterator[ApiRig]:
    """With what wakes those who wait."""
    shards = rig.broker.shards
    broker = Broker(Shards(shards.client, shards.count), scripts)
    async with api_over(broker, woken=True, request_deadline=5.0) as api:
        yield api


async def waiting(rig: Rig, api: ApiRig, *pollers: Poller) -> None:
    """All of these wait, and the store is being waited for."""
    polls = api.pulling.leasing.polls

    async def joined() -> bool:
        return polls.count == len(pollers)

    await eventually(joined)
    await until_blocked(rig.client, 1)


async def enqueue(rig: Rig, **fields: Any) -> str:
    """As another process does, of which this one hears by the marker alone."""
    (job_id,) = await rig.add(now=0, **fields)
    return job_id


async def test_a_job_that_comes_is_handed_to_who_waits(rig: Rig, api: ApiRig) -> None:
    poller = Poller(api)
    await waiting(rig, api, poller)
    job_id = await enqueue(rig)
    assert await poller.jobs() == [job_id]


async def test_a_job_that_this_process_takes_in_goes_out_too(rig: Rig, api: ApiRig) -> None:
    poller = Poller(api)
    await waiting(rig, api, poller)
    job_id = await api.submit()
    assert await poller.jobs() == [job_id]


async def test_the_time_ends_a_wait_with_an_empty_list(rig: Rig, api: ApiRig) -> None:
    assert await Poller(api, wait=0.02).jobs(within=PATIENCE) == []
    assert api.pulling.leasing.polls.count == 0


async def test_each_waits_for_its_own_queues_and_the_first_come_is_the_first_served(rig: Rig, api: ApiRig) -> None:
    pollers = []
    for queues in (["a"], ["b", "c"], ["a", "b"], ["a"]):
        pollers.append(Poller(api, queues=queues))
        await waiting(rig, api, *pollers)
    first_a, first_b, second_a, last_a = pollers
    jobs = [await enqueue(rig, queue="a")]
    assert await first_a.jobs() == jobs
    jobs.append(await enqueue(rig, queue="b"))
    assert await first_b.jobs() == jobs[1:]
    jobs.append(await enqueue(rig, queue="a"))
    assert await second_a.jobs() == jobs[2:]
    jobs.append(await enqueue(rig, queue="a"))
    assert await last_a.jobs() == jobs[3:]


async def test_many_jobs_at_once_reach_all_who_wait(rig: Rig, api: ApiRig) -> None:
    pollers = [Poller(api) for _ in range(20)]
    await waiting(rig, api, *pollers)
    sent = await rig.add(20, now=0)
    got = [await poller.jobs() for poller in pollers]
    assert sorted(job for jobs in got for job in jobs) == sorted(sent)


@pytest.mark.serial
async def test_a_thousand_who_wait_share_one_connection_and_ask_nothing(
    rig: Rig, api: ApiRig, scripts: FaultyScripts
) -> None:
    pollers = [Poller(api) for _ in range(1000)]
    await waiting(rig, api, *pollers)
    before = len(scripts.calls)
    assert before == 1000 * rig.broker.shards.count
    job_id = await enqueue(rig)
    done, _ = await asyncio.wait([poller.task for poller in pollers], return_when=asyncio.FIRST_COMPLETED)
    assert [await poller.jobs() for poller in pollers if poller.task in done] == [[job_id]]
    assert [name for name, _ in scripts.calls[before:]] == ["enqueue", "claim"]
    for poller in pollers:
        poller.hang_up()
        await poller.ended()
    assert api.pulling.leasing.polls.count == 0


async def test_a_job_that_becomes_due_is_handed_out_then(rig: Rig, api: ApiRig) -> None:
    early, late = Poller(api, queues=["a"]), Poller(api, queues=["a"])
    await waiting(rig, api, early, late)
    jobs = await rig.add(2, now=0, queue="a", delay_ms=300)
    assert sorted([*await early.jobs(), *await late.jobs()]) == sorted(jobs)


async def test_a_marker_that_was_lost_is_made_good(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "BLOCK_SECONDS", 0.05)
    poller = Poller(api, queues=["a"])
    await waiting(rig, api, poller)
    job = rig.job(queue="a")
    await rig.client.set(rig.keys.job(job.id), f"r=1 q=a\n{job.body}")
    await rig.client.rpush(rig.keys.ready("a", "default"), job.id)
    assert await poller.jobs(within=PATIENCE) == [job.id]


async def test_the_connection_that_waits_is_made_again(rig: Rig, api: ApiRig) -> None:
    poller = Poller(api)
    await waiting(rig, api, poller)
    await rig.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await until_blocked(rig.client, 1)
    job_id = await enqueue(rig)
    assert await poller.jobs() == [job_id]


# --- clients that go away ------------------------------------------------------------------------------------------


async def test_who_hangs_up_while_it_waits_takes_nothing(rig: Rig, api: ApiRig) -> None:
    gone, other = Poller(api), Poller(api)
    await waiting(rig, api, gone, other)
    gone.hang_up()
    await gone.ended()
    job_id = await enqueue(rig)
    assert await other.jobs() == [job_id]
    assert gone.messages == []


async def test_a_marker_that_nobody_here_can_use_goes_back(rig: Rig, api: ApiRig) -> None:
    gone, other = Poller(api, queues=["a"]), Poller(api, queues=["b"])
    await waiting(rig, api, gone, other)
    gone.hang_up()
    await gone.ended()
    await enqueue(rig, queue="a")

    async def handed_on() -> bool:
        return bool(await rig.client.exists(rig.keys.wake("a")))

    await eventually(handed_on)
    await until_blocked(rig.client, 1)
    job_id = await enqueue(rig, queue="b")
    assert await other.jobs() == [job_id]


async def test_a_marker_that_comes_as_the_time_ends_is_handed_on(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    polls = api.pulling.leasing.polls
    join, wake = polls.join, polls.wake
    joined: list[Poll] = []

    def noted(poll: Poll) -> asyncio.Future[Wake]:
        joined.append(poll)
        return join(poll)

    def as_the_time_ends(shard: int, queue: str, type: str) -> bool:
        monkeypatch.setattr(polls, "wake", wake)
        joined[0].end()
        return wake(shard, queue, type)

    monkeypatch.setattr(polls, "join", noted)
    ending, other = Poller(api), Poller(api)
    await waiting(rig, api, ending, other)
    monkeypatch.setattr(polls, "wake", as_the_time_ends)
    job_id = await enqueue(rig)
    assert await ending.jobs() == []
    assert await other.jobs() == [job_id]


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_what_was_claimed_for_who_is_gone_goes_back_with_no_attempt_spent(
    rig: Rig, api: ApiRig, scripts: FaultyScripts
) -> None:
    sent = await rig.add(3, now=0)
    held = scripts.gates["claim"] = asyncio.Event()
    poller = Poller(api, max=3)
    assert await scripts.waiting.get() == "claim"
    poller.hang_up()
    await asyncio.sleep(0)
    held.set()
    await poller.ended()
    assert poller.messages == []

    async def back() -> bool:
        return await rig.waiting() == sent

    await eventually(back)
    for job_id in sent:
        shown = await api.job(job_id)
        assert (shown["status"], shown["attempts"], shown["crashes"]) == ("queued", 0, 0)


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_a_claim_that_comes_again_while_the_first_waits_takes_its_place(rig: Rig, api: ApiRig) -> None:
    first = Poller(api, claim_id="mine")
    await waiting(rig, api, first)
    second = Poller(api, claim_id="mine")
    assert await first.jobs() == []
    await waiting(rig, api, second)
    job_id = await enqueue(rig)
    assert await second.jobs() == [job_id]


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_what_another_replica_gave_for_the_same_claim_id_is_not_taken_back(
    rig: Rig, api: ApiRig, scripts: FaultyScripts
) -> None:
    (job_id,) = await rig.add(1, now=0)
    held = scripts.gates["claim"] = asyncio.Event()
    first = Poller(api, claim_id="mine", lease=60)
    assert await scripts.waiting.get() == "claim"
    first.hang_up()
    await asyncio.sleep(0)
    async with api_over(Broker(Shards(rig.broker.shards.client), FaultyScripts())) as replica:
        assert await Poller(replica, claim_id="mine", lease=90).jobs() == [job_id]
    held.set()
    await first.ended()
    await api.pulling.leasing.close()
    assert [arguments[1][0][0] for arguments in scripts.arguments("release")] == [job_id]
    assert (await api.job(job_id))["status"] == "running"


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_what_a_lost_reply_to_a_claim_brought_is_not_stranded(
    rig: Rig, server: Server, scripts: FaultyScripts
) -> None:
    """The request gives up on the store, which has done it, and nobody will ask with that claim id again."""
    broker = Broker(Shards(rig.broker.shards.client), scripts)
    async with api_over(broker, request_deadline=0.2, store_timeout=0.1) as api:
        sent = await rig.add(2, now=0)
        scripts.replies_to_drop["claim"] = 1_000
        response = await api.http.post("/v1/leases", json={"max": 2})
        assert response.status_code == 503
        scripts.replies_to_drop["claim"] = 0

        async def back() -> bool:
            return await rig.waiting() == sent

        await eventually(back)
        assert [(await api.job(job_id))["crashes"] for job_id in sent] == [0, 0]


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_what_came_late_and_cannot_be_renewed_is_not_stranded(
    rig: Rig, server: Server, scripts: FaultyScripts
) -> None:
    broker = Broker(Shards(rig.broker.shards.client), scripts)
    async with api_over(broker, request_deadline=0.2, store_timeout=0.1) as api:
        sent = await rig.add(2, now=0)
        held = scripts.gates["claim"] = asyncio.Event()
        poller = Poller(api, max=2, lease=1, wait=0)
        assert await scripts.waiting.get() == "claim"
        late = asyncio.get_running_loop().time() + 1 / 3

        async def is_late() -> bool:
            return asyncio.get_running_loop().time() > late

        await eventually(is_late)
        scripts.replies_to_drop["extend"] = 1_000
        held.set()
        await poller.ended()
        assert poller.messages[0]["status"] == 503

        async def back() -> bool:
            return await rig.waiting() == sent

        await eventually(back)
        assert [(await api.job(job_id))["crashes"] for job_id in sent] == [0, 0]


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_a_reply_that_was_lost_once_goes_unnoticed(rig: Rig, api: ApiRig, scripts: FaultyScripts) -> None:
    sent = await rig.add(2, now=0)
    scripts.replies_to_drop["claim"] = 1
    assert await Poller(api, max=2).jobs() == sent


# --- drain, quiet --------------------------------------------------------------------------------------------------


async def test_a_drain_ends_every_wait_at_once(rig: Rig, api: ApiRig) -> None:
    pollers = [Poller(api, queues=[queue]) for queue in ("a", "b", "a")]
    await waiting(rig, api, *pollers)
    api.pulling.leasing.drain()
    assert [await poller.jobs() for poller in pollers] == [[], [], []]
    await enqueue(rig, queue="a")
    late = Poller(api, queues=["a"])
    assert await late.jobs() == []
    assert (b"connection", b"close") in late.messages[0]["headers"]


async def test_a_quiet_worker_waits_and_gets_nothing_until_it_is_let_again(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "BLOCK_SECONDS", 0.02)
    api.pulling.workers.set_quiet({"anonymous/q"})
    quiet, other = Poller(api, worker="q"), Poller(api, worker="w")
    await waiting(rig, api, quiet, other)
    job_id = await enqueue(rig)
    assert await other.jobs() == [job_id]
    job_id = await enqueue(rig)
    assert await Poller(api, worker="q", wait=0.1).jobs() == []
    assert not quiet.task.done()
    api.pulling.workers.set_quiet(())
    assert await quiet.jobs() == [job_id]


async def test_who_becomes_quiet_while_it_waits_hands_its_marker_on(rig: Rig, api: ApiRig) -> None:
    quiet, other = Poller(api, worker="q"), Poller(api, worker="w")
    await waiting(rig, api, quiet, other)
    api.pulling.workers.set_quiet({"anonymous/q"})
    job_id = await enqueue(rig)
    assert await other.jobs() == [job_id]


async def test_the_register_tells_who_holds_what(api: ApiRig) -> None:
    sent = [await api.submit() for _ in range(3)]
    jobs = await Poller(api, worker="w", max=3, wait=0).jobs()
    (row,) = api.pulling.workers.rows()
    assert (row.name, row.queues, row.busy, sorted(row.jobs), row.quiet) == ("w", ["default"], 3, sorted(sent), False)
    response = await api.http.post("/v1/leases", json={"worker": "v"})
    assert response.json()["jobs"] == []
    shown = await api.job(jobs[0])
    assert shown["worker"] == "w"
    assert [row.name for row in api.pulling.workers.rows()] == ["w", "v"]

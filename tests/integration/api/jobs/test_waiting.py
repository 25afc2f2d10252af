"""`?wait=`: an answer that comes when the job has ended, and costs nothing until then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest
from redis import exceptions as redis_errors

from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig, client_for
from tests.support.stores import StartServer
from tests.support.working import PATIENCE, FaultyScripts, eventually, kill, start_again

LONG = {"wait": "60"}
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
MANY = 1_000


async def wait_for(api: ApiRig, job_ids: Iterable[str]) -> list[asyncio.Task[httpx.Response]]:
    """Requests that wait for these jobs, once the store has marked each.

    The jobs are not read before all requests wait here: reading a thousand again and again takes the loop from them."""
    before = api.waiters.count
    asked = [asyncio.create_task(api.http.get(f"/v1/jobs/{job_id}", params=LONG)) for job_id in job_ids]
    await eventually(lambda: waiting(api, before + len(asked)))
    await eventually(lambda: marked(api, job_ids))
    return asked


async def waiting(api: ApiRig, count: int) -> bool:
    return api.waiters.count >= count


async def marked(api: ApiRig, job_ids: Iterable[str]) -> bool:
    by_shard: dict[int, list[str]] = {}
    for job_id in job_ids:
        by_shard.setdefault(api.broker.shards.of_job(job_id), []).append(job_id)
    stored = [await api.broker.jobs.get(shard, ids) for shard, ids in by_shard.items()]
    return all(" v=1" in job.state for jobs in stored for job in jobs)


async def answer(request: asyncio.Task[httpx.Response]) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        response = await request
    assert response.status_code == 200, response.text
    return dict(response.json())


async def succeed(rig: Rig) -> str:
    """Run the next job to success. Returns its id."""
    (job,) = (await rig.claim(now=0)).jobs
    assert await rig.broker.leases.complete(rig.shard, [(job.id, job.token, '"done"')]) == ["ok"]
    return job.id


@pytest.mark.parametrize("shards", [1, 4])
async def test_the_answer_comes_with_success(rig: Rig, api: ApiRig) -> None:
    job_id = await rig.add(now=0)
    (request,) = await wait_for(api, job_id)
    await succeed(rig)
    job = await answer(request)
    assert (job["id"], job["status"], job["result"]) == (job_id[0], "succeeded", "done")
    assert api.waiters.count == 0


async def dead(rig: Rig, job_id: str) -> None:
    (job,) = (await rig.claim(now=0)).jobs
    await rig.broker.leases.fail(rig.shard, [(job_id, job.token, '{"attempt":1,"kind":"dead","message":"m"}', 0, True)])


async def cancelled(rig: Rig, job_id: str) -> None:
    await rig.broker.jobs.cancel(rig.shard, [job_id])


@pytest.mark.parametrize(("end", "status"), [(dead, "dead_letter"), (cancelled, "cancelled")])
async def test_the_answer_comes_with_other_ends(
    rig: Rig, api: ApiRig, end: Callable[[Rig, str], Any], status: str
) -> None:
    (job_id,) = await rig.add(now=0)
    (request,) = await wait_for(api, [job_id])
    await end(rig, job_id)
    assert (await answer(request))["status"] == status


async def test_a_job_that_is_gone_when_the_answer_comes_is_a_404(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    (request,) = await wait_for(api, [job_id])
    await rig.client.delete(rig.keys.job(job_id), rig.keys.state(job_id))
    api.waiters.close()
    async with asyncio.timeout(PATIENCE):
        problem(await request, 404, "not-found")


async def test_what_has_ended_is_answered_at_once_and_marks_nothing(rig: Rig, api: ApiRig) -> None:
    await rig.add(now=0)
    job_id = await succeed(rig)
    async with rig.unchanged():
        assert (await answer((await asked(api, job_id))[0]))["status"] == "succeeded"
        problem(await api.http.get(f"/v1/jobs/{rig.new_id()}", params=LONG), 404, "not-found")


async def asked(api: ApiRig, job_id: str, **wait: str) -> list[asyncio.Task[httpx.Response]]:
    return [asyncio.create_task(api.http.get(f"/v1/jobs/{job_id}", params=wait or LONG))]


@pytest.mark.parametrize("wait", ["0", "0.01"])
async def test_after_its_time_it_is_what_it_is(rig: Rig, api: ApiRig, wait: str) -> None:
    (job_id,) = await rig.add(now=0)
    (request,) = await asked(api, job_id, wait=wait)
    assert (await answer(request))["status"] == "queued"


@pytest.mark.parametrize("wait", ["", "-1", "61", "3600", "1e1", "nan", "inf", "soon", "٣", "1_0", "9" * 5000])
async def test_other_waits_are_refused(rig: Rig, api: ApiRig, wait: str) -> None:
    (job_id,) = await rig.add(now=0)
    async with rig.unchanged():
        body = problem(await api.http.get(f"/v1/jobs/{job_id}", params={"wait": wait}), 422, "invalid")
        assert body["errors"] == [{"parameter": "wait", "detail": "must be a number of seconds from 0 to 60"}]


async def test_other_parameters_and_two_waits_are_refused(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    for query, name in (("wiat=3", "wiat"), ("wait=1&wait=2", "wait"), ("wait=1&x=", "x")):
        body = problem(await api.http.get(f"/v1/jobs/{job_id}?{query}"), 422, "invalid")
        assert body["errors"][0]["parameter"] == name


@pytest.mark.parametrize("header", ["wait=0", "respond-async, wait=0", 'WAIT="0"; x=y'])
async def test_the_header_asks_for_the_same(rig: Rig, api: ApiRig, header: str) -> None:
    (job_id,) = await rig.add(now=0)
    response = await api.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": header})
    assert response.headers["preference-applied"] == "wait=0"
    other = await api.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "respond-async"})
    assert "preference-applied" not in other.headers
    problem(await api.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=3600"}), 422, "invalid")


async def test_a_job_of_another_queue_is_not_waited_for(rig: Rig) -> None:
    (job_id,) = await rig.add(now=0, queue="mail")
    async with api_over(rig.broker, keys(web="read@web")) as api:
        response = await api.http.get(f"/v1/jobs/{job_id}", params=LONG, headers={"x-api-key": "web"})
        problem(response, 404, "not-found")


@pytest.mark.serial
async def test_a_thousand_wait_without_a_command(rig: Rig) -> None:
    """What the store is asked meanwhile is counted until its clock has gone on by a second."""
    async with api_over(rig.broker, request_deadline=PATIENCE) as api:  # a busy machine takes long for so many
        job_ids = await rig.add(MANY, now=0)
        requests = await wait_for(api, job_ids)
        for batcher in api.waiters._watch:
            await batcher.drain()  # one who came while the subscription was made has its job marked twice
        await rig.client.config_resetstat()
        since = (await rig.client.time())[0]

        async def a_second_later() -> bool:
            return bool((await rig.client.time())[0] > since + 1)

        await eventually(a_second_later)
        commands = await rig.client.info("commandstats")
        assert set(commands) <= {"cmdstat_time", "cmdstat_config|resetstat", "cmdstat_ping"}, commands
        assert commands.get("cmdstat_ping", {"calls": 0})["calls"] <= 2, "one after each 15 seconds of silence"
        assert len(await rig.client.client_list(_type="pubsub")) == 1
        for _ in range(MANY // 500):
            jobs = (await rig.claim(500, now=0)).jobs
            await rig.broker.leases.complete(rig.shard, [(job.id, job.token, "") for job in jobs])
        answers = [await answer(request) for request in requests]
        assert [job["id"] for job in answers] == job_ids
        assert {job["status"] for job in answers} == {"succeeded"}


async def test_a_server_where_nobody_waits_subscribes_to_nothing(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    await api.job(job_id)
    assert await rig.client.client_list(_type="pubsub") == []


async def test_one_more_than_may_is_refused(rig: Rig) -> None:
    first, second = await rig.add(2, now=0)
    async with api_over(rig.broker, waiters=1) as api:
        (request,) = await wait_for(api, [first])
        response = await api.http.get(f"/v1/jobs/{second}", params=LONG)
        assert "wait" in problem(response, 429, "full")["detail"]
        assert response.headers["retry-after"]
        await succeed(rig)
        assert (await answer(request))["status"] == "succeeded"
        assert (await api.http.get(f"/v1/jobs/{second}", params={"wait": "0.01"})).status_code == 200


async def test_many_wait_for_one_job(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    requests = await wait_for(api, [job_id] * 50)
    await succeed(rig)
    assert {(await answer(request))["status"] for request in requests} == {"succeeded"}


async def test_a_server_that_stops_lets_all_go(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    (request,) = await wait_for(api, [job_id])
    api.waiters.close()
    assert (await answer(request))["status"] == "queued"
    (late,) = await asked(api, job_id)
    assert (await answer(late))["status"] == "queued"


async def test_a_client_that_goes_away_leaves_nothing_behind(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    gone = asyncio.Event()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": f"/v1/jobs/{job_id}", "query_string": b"wait=60", "headers": []}
    call = asyncio.create_task(api.app(scope, _body_then(gone), send))
    await eventually(lambda: marked(api, [job_id]))
    gone.set()
    async with asyncio.timeout(PATIENCE):
        await call
    assert (sent, api.waiters.count) == ([], 0)


def _body_then(gone: asyncio.Event) -> Callable[[], Any]:
    """A client that sends an empty body, and hangs up later."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive


# --- trouble with the store --------------------------------------------------------------------------------------


async def test_what_ended_while_the_subscription_was_lost_is_noticed(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made again only once the job has ended: by then the message has gone to nobody."""

    def refused() -> None:
        raise redis_errors.ConnectionError("switched off by the test")

    (job_id,) = await rig.add(now=0)
    (request,) = await wait_for(api, [job_id])
    with monkeypatch.context() as patched:
        patched.setattr(rig.client, "pubsub", refused)
        await rig.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: _lost(api))
        await succeed(rig)
    assert (await answer(request))["status"] == "succeeded"


async def test_a_mark_that_was_not_answered_is_made_again(rig: Rig) -> None:
    scripts = FaultyScripts()
    scripts.replies_to_drop["watch_end"] = 3
    (job_id,) = await rig.add(now=0)
    async with api_over(Broker(Shards(rig.client, 1), scripts)) as api:
        (request,) = await asked(api, job_id)
        await eventually(lambda: _called(scripts, "watch_end", 4))
        await succeed(rig)
        assert (await answer(request))["status"] == "succeeded"


async def _called(scripts: FaultyScripts, name: str, times: int) -> bool:
    return len(scripts.arguments(name)) >= times


async def test_waiting_outlasts_a_restart_of_the_store(start_server: StartServer) -> None:
    server = start_server(*DURABLE)
    client = client_for(server.url)
    rig = Rig(client, 1, Scripts())
    first, second = await rig.add(2, now=0)
    async with api_over(rig.broker) as api:
        requests = await wait_for(api, [first, second])
        kill(server)
        await eventually(lambda: _lost(api))
        await start_again(server, client)
        await eventually(lambda: _subscribed(rig))
        await succeed(rig)
        await rig.broker.jobs.cancel(rig.shard, [second])
        assert [(await answer(request))["status"] for request in requests] == ["succeeded", "cancelled"]
    await client.aclose()


async def _lost(api: ApiRig) -> bool:
    return not api.waiters._standing


async def _subscribed(rig: Rig) -> bool:
    return len(await rig.client.client_list(_type="pubsub")) == 1

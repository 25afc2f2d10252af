"""The limits of event streams: slow clients, too many clients, and none at all."""

from __future__ import annotations

import pytest

from queuey.services.events import subscribers
from tests.support.events import connection_of_reader, finish, observed
from tests.support.http import ApiRig, api_over, problem
from tests.support.store import Rig
from tests.support.streams import streaming
from tests.support.working import FaultyScripts, eventually


async def test_who_does_not_keep_up_is_let_go_with_a_reset(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribers, "BUFFER", 10)
    async with streaming(api, "/v1/events") as quick, streaming(api, "/v1/events") as slow:
        slow.reading.clear()
        for _ in range(40):
            job_id = await api.submit()
            await quick.expect("status", job_id=job_id)
        slow.reading.set()
        seen: list[str] = []
        while (event := await slow.next()) is not None:
            seen.append(event.name)
        assert seen[-1] == "reset"
        assert len(seen) < 30
        job_id = await api.submit()
        await quick.expect("status", job_id=job_id)


async def test_one_more_than_may_is_refused(rig: Rig) -> None:
    async with api_over(observed(rig), waiters=1) as api:
        async with streaming(api, "/v1/events"):
            problem(await api.http.get("/v1/events"), 429, "full")
        async with streaming(api, "/v1/events?seconds=0") as stream:
            assert await stream.next() is None


async def test_while_nobody_follows_the_store_is_told_nothing(rig: Rig) -> None:
    scripts = FaultyScripts()
    async with api_over(observed(rig, scripts)) as api:
        await api.submit()
        await finish(rig)
        assert {name for name, _ in scripts.calls} == {"enqueue", "claim", "complete"}


async def test_once_nobody_follows_any_more_the_reading_ends(rig: Rig, api: ApiRig) -> None:
    async with streaming(api, "/v1/events"):
        await connection_of_reader(rig)

    async def nobody_reads() -> bool:
        return not [client for client in await rig.client.client_list() if "b" in client["flags"]]

    await eventually(nobody_reads)


async def test_a_silent_stream_is_pinged(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuey.api.routes.events.PING_SECONDS", 0.01)
    (job_id,) = await rig.add(now=0)
    async with streaming(api, "/v1/events") as all_jobs, streaming(api, f"/v1/jobs/{job_id}/events") as one:
        await one.expect("status", status="queued")
        for stream in (all_jobs, one):
            assert [await stream.chunk() for _ in range(3)] == [": ping"] * 3


async def test_a_client_that_goes_leaves_nothing(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    async with streaming(api, f"/v1/jobs/{job_id}/events") as one, streaming(api, "/v1/events"):
        await one.expect("status", status="queued")
        assert api.followers.count == 2
    assert (api.followers.count, api.waiters.count) == (0, 0)

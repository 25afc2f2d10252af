"""A client that connects again gets the events that it missed, or a reset."""

from __future__ import annotations

import pytest

from queuey.services.events import subscribers
from tests.support.events import connection_of_reader, observed
from tests.support.http import ApiRig, api_over
from tests.support.store import Rig
from tests.support.streams import Event, streaming
from tests.support.working import FaultyScripts


async def test_who_comes_back_gets_what_it_missed_and_then_what_is_new(rig: Rig, api: ApiRig) -> None:
    async with streaming(api, "/v1/events") as stream:
        first = await api.submit()
        seen = await stream.expect("status", job_id=first)
        missed = [await api.submit() for _ in range(3)]
        last = [await stream.expect("status", job_id=job_id) for job_id in missed][-1]
        async with streaming(api, "/v1/events", last_event_id=seen.id) as again:
            for job_id in missed:
                await again.expect("status", job_id=job_id)
            new = await api.submit()
            await again.expect("status", job_id=new)
        async with streaming(api, "/v1/events", last_event_id=last.id) as again:
            await again.expect("status", job_id=new)


@pytest.mark.parametrize("event_id", ["1-1", "0-0x", "", "last", "99999999999999-0", "1" * 400 + "-1"])
async def test_an_id_that_is_not_there_is_a_reset(api: ApiRig, event_id: str) -> None:
    async with streaming(api, "/v1/events", last_event_id=event_id) as stream:
        assert await stream.next() == Event("reset", {})
        job_id = await api.submit()
        await stream.expect("status", job_id=job_id)


async def test_more_than_can_be_told_again_is_a_reset(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers, "BUFFER", 5)
    async with streaming(api, "/v1/events") as stream:
        await api.submit()
        seen = await stream.expect("status", status="queued")
        for _ in range(6):
            job_id = await api.submit()
            await stream.expect("status", job_id=job_id)
        async with streaming(api, "/v1/events", last_event_id=seen.id) as again:
            assert await again.next() == Event("reset", {})


async def test_events_that_could_not_be_told_leave_a_reset(rig: Rig) -> None:
    scripts = FaultyScripts()
    async with api_over(observed(rig, scripts)) as api, streaming(api, "/v1/events") as stream:
        api.feed._published(0, None, RuntimeError("as when the store refuses it"))
        job_id = await api.submit()
        assert (await stream.next() or Event("", {})).name == "reset"
        await stream.expect("status", job_id=job_id)


async def test_a_lost_connection_loses_no_event(rig: Rig, api: ApiRig) -> None:
    async with streaming(api, "/v1/events") as stream:
        await api.submit()
        await stream.expect("status", status="queued")
        for _ in range(3):
            await rig.client.execute_command("CLIENT", "KILL", "ID", await connection_of_reader(rig))
            job_id = await api.submit()
            await stream.expect("status", job_id=job_id)


async def test_a_stream_that_was_thrown_away_is_a_reset(rig: Rig, api: ApiRig) -> None:
    async with streaming(api, "/v1/events") as stream:
        await api.submit()
        await stream.expect("status", status="queued")
        await rig.client.delete(rig.broker.shards.keys[0].events, rig.broker.shards.keys[0].listening)
        await rig.client.execute_command("CLIENT", "KILL", "ID", await connection_of_reader(rig))
        assert await stream.next() == Event("reset", {})
        job_id = await api.submit()
        await stream.expect("status", job_id=job_id)

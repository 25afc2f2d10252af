"""GET /v1/pulse over a store: the same as the two lists, by what the key may read, once and as a stream."""

from __future__ import annotations

from typing import Any

from tests.support.events import observed
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.streams import streaming
from tests.support.working import FaultyScripts


def without_ages(queues: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The time goes on between two requests."""
    return [{**queue, "oldest_age": None, "claimable_age": None} for queue in queues]


async def test_once_it_has_what_the_lists_have(api: ApiRig) -> None:
    for queue in ("mail", "mail", "web"):
        await api.submit(queue=queue)
    pulse = (await api.http.get("/v1/pulse?once=1")).json()
    queues = (await api.http.get("/v1/queues")).json()["queues"]
    assert without_ages(pulse["queues"]) == without_ages(queues)
    assert pulse["workers"] == (await api.http.get("/v1/workers")).json()["workers"]
    assert (pulse["totals"]["waiting"], pulse["every"]) == (3, 1.0)


async def test_a_stream_has_frames_of_what_the_key_may_read(rig: Rig) -> None:
    async with api_over(rig.broker, keys(all="admin", mail="read@mail")) as api:
        for queue in ("mail", "web"):
            sent = await api.http.post("/v1/jobs", json={"type": "t", "queue": queue}, headers={"x-api-key": "all"})
            assert sent.status_code == 200
        async with streaming(api, "/v1/pulse", x_api_key="mail") as stream:
            event = await stream.expect("pulse")
            assert [queue["name"] for queue in event.data["queues"]] == ["mail"]
            assert event.data["totals"]["waiting"] == 1


async def test_one_stream_more_than_may_is_refused(rig: Rig) -> None:
    async with api_over(rig.broker, waiters=1) as api, streaming(api, "/v1/pulse"):
        problem(await api.http.get("/v1/pulse"), 429, "full")


async def test_while_nobody_looks_the_store_is_asked_nothing(rig: Rig) -> None:
    scripts = FaultyScripts()
    async with api_over(observed(rig, scripts)) as api:
        await api.submit()
        async with streaming(api, "/v1/pulse") as stream:
            await stream.expect("pulse")
        asked = {name for name, _ in scripts.calls}
        assert {"stats", "workers"} <= asked
        before = len(scripts.calls)
        await api.submit()
        assert len(scripts.calls) == before + 1

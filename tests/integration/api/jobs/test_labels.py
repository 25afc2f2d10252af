"""Tags and metadata on their way: from a request to the store, to lists, to workers."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx
import pytest
from msgspec import Struct

from queuey.client import Client
from queuey.protocol.models import JobRequest
from queuey.services import cursors
from queuey.services.jobs.listing import Wanted
from queuey.worker.handlers.attempt import Keeping
from queuey.worker.held_job import read
from tests.support.http import HOST, ApiRig, problem
from tests.support.store import Rig
from tests.support.stores import one_of

shards = one_of(1, 3)
TAGS: Final = ["customer:42", "nightly"]
DEV: Final = {"x-api-key": "dev"}
METADATA: Final = {"request_id": "r-1", "tenant": "Ácme Ltd"}


async def listed(api: ApiRig, **parameters: Any) -> list[str]:
    """The ids of a list, by its links."""
    response = await api.http.get("/v1/jobs", params=parameters)
    found = []
    for _ in range(100):
        assert response.status_code == 200, response.text
        found += [job["id"] for job in response.json()["jobs"]]
        if "next" not in response.links:
            return found
        response = await api.http.get(response.links["next"]["url"])
    raise AssertionError("the pages never end")


async def test_a_job_shows_its_labels_and_a_plain_job_has_none(api: ApiRig) -> None:
    labelled = await api.job(await api.submit(tags=TAGS, metadata=METADATA))
    assert (labelled["tags"], labelled["metadata"]) == (TAGS, METADATA)
    plain = await api.job(await api.submit())
    assert (plain["tags"], plain["metadata"]) == ([], None)


async def test_a_list_of_a_tag(api: ApiRig) -> None:
    """In a batch, over pages, and beside other filters."""
    items = [{"type": "t", "tags": ["a", f"n{number % 3}"], "delay": 60 * (number % 2)} for number in range(30)]
    batch = (await api.http.post("/v1/jobs/batch", json=[*items, {"type": "t"}])).json()["results"]
    ids = [item["job_id"] for item in batch]
    assert sorted(await listed(api, tag="a", limit=7)) == sorted(ids[:30])
    assert sorted(await listed(api, tag="n1", limit=2)) == sorted(ids[1:30:3])
    both = {ids[number] for number in range(30) if number % 3 == 2 and number % 2}
    assert set(await listed(api, tag="n2", status="scheduled", type="t", limit=1)) == both
    assert await listed(api, tag="n") == await listed(api, tag="n1", type="other") == []


@pytest.mark.parametrize("tag", ["", "a b", "a" * 65, '"', "-"])
async def test_a_list_of_what_is_no_tag(api: ApiRig, tag: str) -> None:
    response = await api.http.get("/v1/jobs", params={"tag": tag})
    (fault,) = problem(response, 422, "invalid")["errors"]
    assert fault["parameter"] == "tag"
    assert fault["detail"].startswith("must be 1 to 64 letters, digits and")


def test_the_cursor_of_a_list_without_a_tag_is_the_one_of_before() -> None:
    """An older replica beside this one gave it, or gets it."""

    class Before(Struct):
        queue: str | None = None
        status: str | None = None
        type: str | None = None

    assert cursors.digest(Wanted("mail")) == cursors.digest(Before("mail"))
    assert cursors.digest(Wanted("mail", tag="a")) != cursors.digest(Wanted("mail"))


async def test_a_pull_worker_and_a_worker_get_them(rig: Rig, api: ApiRig) -> None:
    await api.submit(tags=TAGS, metadata=METADATA)
    await api.submit()
    asked = [await api.http.post("/v1/leases", json={"max": 2}) for _ in range(2)]
    leased = [job for response in asked for job in response.json()["jobs"]]
    by_labels = {json.dumps(job.get("tags")): job for job in leased}
    assert by_labels[json.dumps(TAGS)]["metadata"] == METADATA
    assert not {"tags", "metadata"} & by_labels["null"].keys()


@pytest.mark.parametrize("shards", [1])
async def test_a_worker_reads_them(rig: Rig, api: ApiRig) -> None:
    await api.submit(tags=TAGS, metadata=METADATA)
    (claimed,) = (await rig.claim(now=0)).jobs
    work, failed = read(claimed, lambda _, __: None, Keeping)
    assert failed is None
    assert (list(work.tags), work.metadata) == (TAGS, METADATA)


async def test_they_stay_when_a_payload_is_replaced_and_the_job_replayed(api: ApiRig) -> None:
    job_id = await api.submit(tags=TAGS, metadata=METADATA)
    for shard in range(api.broker.shards.count):
        held = await api.broker.leases.claim(
            shard, claim_id=f"c{shard}", worker="w", lease_ms=30_000, limit=1, queues=["default"]
        )
        for one in held.jobs:
            await api.broker.leases.fail(shard, [(one.id, one.token, "{}", 0, True)])
    response = await api.http.put(f"/v1/jobs/{job_id}/payload?requeue=true", json={"to": "b@c"}, headers=DEV)
    assert response.status_code == 200, response.text
    job = await api.job(job_id)
    assert (job["status"], job["payload"]) == ("queued", {"to": "b@c"})
    assert (job["tags"], job["metadata"]) == (TAGS, METADATA)
    assert await listed(api, tag=TAGS[0]) == [job_id]


async def test_the_client_sends_lists_and_shows_them(api: ApiRig) -> None:
    async with Client(f"http://{HOST}", transport=httpx.ASGITransport(api.app)) as client:
        first = await client.enqueue("t", tags=TAGS, metadata=METADATA)
        (second,) = await client.enqueue_many([JobRequest("t", tags=("nightly",))])
        assert {job.id async for job in client.jobs(tag="nightly")} == {first.job_id, second.job_id}
        (job,) = [job async for job in client.jobs(tag=TAGS[0])]
        assert (list(job.tags), job.metadata) == (TAGS, METADATA)

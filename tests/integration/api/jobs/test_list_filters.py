"""Lists of jobs by dedupe key and by age, over shards and pages."""

from __future__ import annotations

import httpx
import pytest

from queuey.client import Client
from queuey.services import cursors
from queuey.services.jobs.listing import Wanted
from tests.integration.api.jobs.test_labels import listed
from tests.support.http import HOST, ApiRig, problem
from tests.support.stores import one_of

shards = one_of(1, 3)


async def test_a_list_of_a_dedupe_key(api: ApiRig) -> None:
    ids = [await api.submit(dedupe_key=f"order:{number}", delay=60 * (number % 2)) for number in range(12)]
    for number, job_id in enumerate(ids):
        assert await listed(api, dedupe_key=f"order:{number}", limit=1) == [job_id]
    assert await listed(api, dedupe_key="order:") == []
    assert await listed(api, dedupe_key="order:1", status="queued") == []
    assert await listed(api, dedupe_key="order:1", queue="default", status="scheduled") == ids[1:2]
    assert await listed(api, dedupe_key="not printable \x00") == []


async def test_a_list_of_an_age(api: ApiRig) -> None:
    ids = [await api.submit() for _ in range(9)]
    assert sorted(await listed(api, younger_than=3600, limit=2)) == sorted(ids)
    assert sorted(await listed(api, older_than=0, younger_than=3600)) == sorted(ids)
    assert await listed(api, older_than=3600) == []


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("dedupe_key", "", "1 to 256 characters"),
        ("dedupe_key", "k" * 257, "1 to 256 characters"),
        ("older_than", "-1", "a number of seconds from 0"),
        ("younger_than", "1h", "a number of seconds from 0"),
    ],
)
async def test_what_is_refused(api: ApiRig, name: str, value: str, rule: str) -> None:
    refused = problem(await api.http.get("/v1/jobs", params={name: value}), 422, "invalid")
    assert rule in refused["detail"]
    assert [fault["parameter"] for fault in refused["errors"]] == [name]


async def test_the_client_lists_them(api: ApiRig) -> None:
    job_id = await api.submit(dedupe_key="order:1")
    await api.submit()
    async with Client(f"http://{HOST}", transport=httpx.ASGITransport(api.app)) as client:
        assert [job.id async for job in client.jobs(dedupe_key="order:1", younger_than=3600)] == [job_id]
        assert [job.id async for job in client.jobs(older_than=3600)] == []


def test_a_cursor_is_of_its_filters() -> None:
    lists = [
        Wanted("mail"),
        Wanted("mail", dedupe_key="a"),
        Wanted("mail", older_than=1),
        Wanted("mail", younger_than=1),
    ]
    assert len({cursors.digest(wanted) for wanted in lists}) == len(lists)

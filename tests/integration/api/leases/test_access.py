"""A grant to work on one queue gives no access to the jobs of others."""

from __future__ import annotations

from tests.support.http import api_over, keys, problem
from tests.support.pull.leasing import ACTS, COMPLETE, LEASES, failing, held, one, report
from tests.support.store import Rig


async def test_a_grant_over_one_queue_reaches_no_other(rig: Rig) -> None:
    async with api_over(rig.broker, keys(all="admin", mail="work@mail")) as api:
        api.http.headers["x-api-key"] = "all"
        job, mine = await one(api, queue="web"), await one(api, queue="mail")
        api.http.headers["x-api-key"] = "mail"
        problem(await api.http.post(LEASES, json={"queues": ["mail", "web"]}), 403, "forbidden")
        for path in ACTS:
            foreign = await api.http.post(path, json=held(job) | failing(path))
            missing = await api.http.post(path, json=held(job, id="0" * 28) | failing(path))
            problem(foreign, 404, "not-found")
            assert foreign.text.replace(job["id"], "0" * 28) == missing.text
        told = await report(api, COMPLETE, held(job), held(mine))
        assert [item.get("status") for item in told] == [None, "ok"]
        api.http.headers["x-api-key"] = "all"
        assert (await api.job(job["id"]))["status"] == "running"

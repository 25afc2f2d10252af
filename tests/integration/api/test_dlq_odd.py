"""Dead jobs with errors that no server wrote, as an import may bring them."""

from __future__ import annotations

import time

import msgspec
import pytest

from queuey.services.dlq.fingerprints import fingerprint
from tests.support.http import api_over
from tests.support.store import Rig
from tests.support.stores import SHARDS, one_of

shards = one_of(*SHARDS)

DEV = {"x-api-key": "dev"}


async def imported(rig: Rig, error: str) -> str:
    """A job that died, whose line of its error is another one in the file that it is read from."""
    now = int(time.time() * 1000) - 1000
    (held,) = await rig.held(now=now)
    assert await rig.broker.leases.fail(rig.shard, [(*held, '{"n":1}', 0, True)], now=now) == ["dead"]
    (job,) = (await rig.broker.transfer.dump(rig.shard, [held[0]], now=now)).jobs
    state, _, _ = job.state.rpartition("\n")
    odd = msgspec.structs.replace(job, state=f"{state}\n{error}")
    await rig.client.flushall()
    assert await rig.broker.transfer.restore(rig.shard, [odd], now=now) == (["ok"], [])
    return held[0]


@pytest.mark.parametrize(
    ("line", "shown", "grouped"),
    [
        ("odd error", "odd error", ""),
        ('["odd"]', '["odd"]', ""),
        ('1700000000000 ["odd"]', '["odd"]', '["odd"]'),
        ("1700000000000 no JSON", "no JSON", "no JSON"),
        ('1700000000000 {"message":7}', '{"message":7}', '{"message":7}'),
    ],
)
async def test_an_odd_error_is_shown_and_the_job_can_be_replayed(rig: Rig, line: str, shown: str, grouped: str) -> None:
    job_id = await imported(rig, line)
    async with api_over(rig.broker) as api:
        job = await api.job(job_id)
        assert (job["status"], job["last_error"]) == ("dead_letter", shown)
        assert [(error["kind"], error["message"]) for error in job["errors"]] == [("unknown", shown)]
        mark = fingerprint("t", "unknown", grouped)
        (dead,) = (await api.http.get("/v1/dlq")).json()["jobs"]
        assert dead == {**job, "fingerprint": mark}
        (group,) = (await api.http.get("/v1/dlq/groups")).json()["groups"]
        assert (group["kind"], group["message"], group["fingerprint"]) == ("unknown", grouped, mark)
        assert [one["id"] for one in (await api.http.get("/v1/jobs?status=dead_letter")).json()["jobs"]] == [job_id]
        replayed = await api.http.post("/v1/dlq/replay", json={"fingerprint": mark}, headers=DEV)
        assert replayed.json()["done"] == 1
        assert (await api.job(job_id))["status"] == "queued"

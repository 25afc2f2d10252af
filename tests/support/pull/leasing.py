"""Leases over HTTP, as a pull worker asks for them and reports on them."""

from __future__ import annotations

from typing import Any, Final

from tests.support.http import ApiRig

LEASES: Final = "/v1/leases"
COMPLETE: Final = "/v1/leases/complete"
FAIL: Final = "/v1/leases/fail"
EXTEND: Final = "/v1/leases/extend"
RELEASE: Final = "/v1/leases/release"
CHECKPOINT: Final = "/v1/leases/checkpoint"
LOG: Final = "/v1/leases/log"
ACTS: Final = (COMPLETE, FAIL, EXTEND, LOG, RELEASE, CHECKPOINT)


async def lease(api: ApiRig, **asked: Any) -> list[dict[str, Any]]:
    response = await api.http.post(LEASES, json=asked)
    assert response.status_code == 200, response.text
    return list(response.json()["jobs"])


async def one(api: ApiRig, **fields: Any) -> dict[str, Any]:
    """Submit a job, and lease it."""
    job_id = await api.submit(**fields)
    (job,) = await lease(api, queues=[fields.get("queue", "default")])
    assert job["id"] == job_id
    return job


def held(job: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": job["id"], "token": job["token"], **more}


def failing(path: str) -> dict[str, Any]:
    """Return the fields that `path` requires besides id and token."""
    fields: dict[str, dict[str, Any]] = {
        FAIL: {"error": "no luck"},
        CHECKPOINT: {"checkpoint": 1},
        LOG: {"lines": [{"text": "x"}]},
    }
    return fields.get(path, {})


async def report(api: ApiRig, path: str, *items: dict[str, Any]) -> list[dict[str, Any]]:
    """Report on several jobs, and return the answer for each."""
    response = await api.http.post(path, json={"jobs": list(items)})
    assert response.status_code == 200, response.text
    return list(response.json()["results"])

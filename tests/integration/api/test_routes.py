"""Paths and methods that there are, and those that there are not."""

from __future__ import annotations

import pytest

from tests.support.http import UNKNOWN_ID, ApiRig, problem
from tests.support.stores import one_of

shards = one_of(4)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/jobs/", f"/v1/jobs/{UNKNOWN_ID}/", "/healthz/", "/v1/queue", "/v2/jobs"]
)
async def test_other_paths_are_not_found(api: ApiRig, path: str) -> None:
    for method in ("GET", "POST"):
        problem(await api.http.request(method, path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/jobs", "POST, GET, HEAD, OPTIONS"),
        ("PUT", "/v1/jobs", "POST, GET, HEAD, OPTIONS"),
        ("GET", "/v1/jobs/batch", "POST, OPTIONS"),
        ("POST", f"/v1/jobs/{UNKNOWN_ID}", "GET, DELETE, HEAD, OPTIONS"),
        ("GET", "/v1/replay-dlq", "POST, OPTIONS"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("BREW", "/readyz", "GET, HEAD, OPTIONS"),
    ],
)
async def test_other_methods_are_refused_with_those_that_are_there(
    api: ApiRig, method: str, path: str, allowed: str
) -> None:
    response = await api.http.request(method, path)
    problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed
    options = await api.http.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, allowed, b"")


async def test_head_is_answered_like_get(api: ApiRig) -> None:
    job_id = await api.submit()
    for path in ("/healthz", f"/v1/jobs/{job_id}"):
        head, get = await api.http.head(path), await api.http.get(path)
        assert (head.status_code, head.headers) == (get.status_code, get.headers)

"""Calls about jobs: enqueue, show, list, await, cancel, retry and delete them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Unpack
from urllib.parse import quote

from msgspec import Raw

from queuey.client.batches import batches
from queuey.client.transport import Http
from queuey.protocol.job_requests import JobOptions, job_request, request_json, with_id
from queuey.protocol.models import (
    FINAL,
    BatchItem,
    BatchReply,
    CancelReply,
    EnqueueReply,
    Explanation,
    Job,
    JobPage,
    JobRequest,
    RetryReply,
    Status,
)

MAX_WAIT: Final = 60.0
"""The most seconds that one request waits."""
QUICK_PAUSE: Final = 0.5
"""The seconds before the next request if the server answered early, as it does before it stops."""
BATCH_JOBS: Final = 1000
PAGE: Final = 100


class JobCalls:
    """The calls of Client about jobs. All of them raise ClientError."""

    _http: Http

    async def enqueue(self, type: str, payload: Any = None, **options: Unpack[JobOptions]) -> EnqueueReply:
        """Enqueue a job. When this returns, the store has it.

        The payload is anything that msgspec can encode as JSON. The client makes the id, so that it can safely send the
        request again if the answer is lost. To retry the call yourself, pass `id=new_id(dedupe_key)`.
        """
        return await self.send(job_request(type, payload, options))

    async def send(self, request: JobRequest) -> EnqueueReply:
        """Enqueue the job of a request. It gets an id if it has none."""
        body = Raw(request_json(with_id(request)))
        return await self._http.call("POST", "/v1/jobs", EnqueueReply, body=body)

    async def enqueue_many(self, requests: Sequence[JobRequest]) -> list[BatchItem]:
        """Enqueue any number of jobs. Return an outcome for each, in order: a `job_id` or an `error`.

        A request without an id gets one, so that calling again with the same requests is safe.
        """
        results: list[BatchItem] = []
        for batch in batches((request_json(with_id(request)) for request in requests), BATCH_JOBS):
            reply = await self._http.call("POST", "/v1/jobs/batch", BatchReply, body=batch)
            results += reply.results
        return results

    async def run(self, type: str, payload: Any = None, *, wait: float = 60.0, **options: Unpack[JobOptions]) -> Job:
        """Enqueue a job and wait up to `wait` seconds for it to finish. See the method `wait`."""
        until = _now() + wait
        first = min(wait, MAX_WAIT)
        body, query = Raw(request_json(job_request(type, payload, options))), {"wait": _seconds(first)}
        job = await self._http.call("POST", "/v1/jobs", Job, query=query, body=body, wait=first)
        if job.status in FINAL:
            return job
        return await self.wait(job.id, max(0.0, until - _now()))

    async def get(self, id: str) -> Job:
        """Return the job."""
        return await self._http.call("GET", _path(id), Job)

    async def wait(self, id: str, timeout: float = 60.0) -> Job:
        """Return the job when it has finished, or after `timeout` seconds as it is then. Check its `status`."""
        until = _now() + timeout
        while True:
            began = _now()
            seconds = min(max(0.0, until - began), MAX_WAIT)
            query = {"wait": _seconds(seconds)}
            job = await self._http.call("GET", _path(id), Job, query=query, wait=seconds)
            left = until - _now()
            if job.status in FINAL or left <= 0:
                return job
            if _now() - began < seconds / 2:
                await asyncio.sleep(min(QUICK_PAUSE, left))

    async def jobs(
        self, *, queue: str | None = None, status: Status | None = None, type: str | None = None
    ) -> AsyncIterator[Job]:
        """Yield the jobs of this queue, status and type. Pages are fetched as needed."""
        query: dict[str, str | int | None] = {"queue": queue, "status": status, "type": type, "limit": PAGE}
        while True:
            page = await self._http.call("GET", "/v1/jobs", JobPage, query=query)
            for job in page.jobs:
                yield job
            if page.next is None:
                return
            query["cursor"] = page.next

    async def explain(self, id: str) -> Explanation:
        """Return why the job has its status: what it waits for, which worker has it, or how it ended."""
        return await self._http.call("GET", _path(id, "/explain"), Explanation)

    async def cancel(self, id: str) -> CancelReply:
        """Cancel a job; a running handler is asked to stop. Raises WrongState if the job has finished."""
        return await self._http.call("POST", _path(id, "/cancel"), CancelReply)

    async def retry(self, id: str) -> RetryReply:
        """Retry a dead job, or run a scheduled job immediately. Raises WrongState for other jobs."""
        return await self._http.call("POST", _path(id, "/retry"), RetryReply, repeatable=False)

    async def delete(self, id: str) -> None:
        """Delete a finished job. Raises WrongState for other jobs."""
        await self._http.call("DELETE", _path(id), type(None), repeatable=False)


def _path(id: str, rest: str = "") -> str:
    return f"/v1/jobs/{quote(id, safe='')}{rest}"


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _now() -> float:
    return asyncio.get_running_loop().time()

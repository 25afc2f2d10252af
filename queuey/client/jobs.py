"""Calls about jobs: put them into queues, look at them, wait for them, list them, stop them."""

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
"""Seconds of one request that waits."""
QUICK_PAUSE: Final = 0.5
"""Seconds before a server that answered too early, since it stops, is asked anew."""
BATCH_JOBS: Final = 1000
PAGE: Final = 100


class JobCalls:
    """The part of Client that is about jobs. Everything here raises ClientError; ids and names are the server's."""

    _http: Http

    async def enqueue(self, type: str, payload: Any = None, **options: Unpack[JobOptions]) -> EnqueueReply:
        """Put a job into its queue. When this returns, the store has it.

        The payload is what msgspec can write as JSON. The id is made here, so that a request whose answer was lost is
        sent again safely. To try again yourself, say `id=new_id(dedupe_key)`.
        """
        return await self.send(job_request(type, payload, options))

    async def send(self, request: JobRequest) -> EnqueueReply:
        """What `enqueue` does, with a request that is made already. It is given an id if it has none."""
        body = Raw(request_json(with_id(request)))
        return await self._http.call("POST", "/v1/jobs", EnqueueReply, body=body)

    async def enqueue_many(self, requests: Sequence[JobRequest]) -> list[BatchItem]:
        """Put any number of jobs into their queues; an outcome for each, in order: a `job_id` or an `error`.

        A request without an id is given one, so that calling again with the same requests is safe.
        """
        results: list[BatchItem] = []
        for batch in batches((request_json(with_id(request)) for request in requests), BATCH_JOBS):
            reply = await self._http.call("POST", "/v1/jobs/batch", BatchReply, body=batch)
            results += reply.results
        return results

    async def run(self, type: str, payload: Any = None, *, wait: float = 60.0, **options: Unpack[JobOptions]) -> Job:
        """Put a job into its queue and wait for its end, for so many seconds at most. See `wait`."""
        until = _now() + wait
        first = min(wait, MAX_WAIT)
        body, query = Raw(request_json(job_request(type, payload, options))), {"wait": _seconds(first)}
        job = await self._http.call("POST", "/v1/jobs", Job, query=query, body=body, wait=first)
        if job.status in FINAL:
            return job
        return await self.wait(job.id, max(0.0, until - _now()))

    async def get(self, id: str) -> Job:
        """The job as it is now."""
        return await self._http.call("GET", _path(id), Job)

    async def wait(self, id: str, timeout: float = 60.0) -> Job:
        """The job at its end; or, after so many seconds, as it is then. Look at its `status`."""
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
        """Every job of this queue, status and type, page by page as they are asked for."""
        query: dict[str, str | int | None] = {"queue": queue, "status": status, "type": type, "limit": PAGE}
        while True:
            page = await self._http.call("GET", "/v1/jobs", JobPage, query=query)
            for job in page.jobs:
                yield job
            if page.next is None:
                return
            query["cursor"] = page.next

    async def explain(self, id: str) -> Explanation:
        """Why it is where it is: what it waits for, who holds it, how it ended."""
        return await self._http.call("GET", _path(id, "/explain"), Explanation)

    async def cancel(self, id: str) -> CancelReply:
        """Cancel it; one that runs is told to stop. Raises WrongState when it has ended."""
        return await self._http.call("POST", _path(id, "/cancel"), CancelReply)

    async def retry(self, id: str) -> RetryReply:
        """Run a dead job anew, or a scheduled one now. Raises WrongState for any other."""
        return await self._http.call("POST", _path(id, "/retry"), RetryReply, repeatable=False)

    async def delete(self, id: str) -> None:
        """Remove a job that has ended. Raises WrongState for any other."""
        await self._http.call("DELETE", _path(id), type(None), repeatable=False)


def _path(id: str, rest: str = "") -> str:
    return f"/v1/jobs/{quote(id, safe='')}{rest}"


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _now() -> float:
    return asyncio.get_running_loop().time()

"""Calls about jobs: enqueue, show, list, await, cancel, retry and delete them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from math import isnan
from numbers import Real
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import quote

from msgspec import Raw

from queuey.client.batches import batches
from queuey.client.transport import MAX_WAIT, Http
from queuey.protocol.job_requests import JobOptions, check_seconds, job_request, request_json, with_id
from queuey.protocol.models import (
    FINAL,
    Batch,
    BatchItem,
    BatchReply,
    CancelReply,
    EnqueueReply,
    Explanation,
    Job,
    JobLog,
    JobPage,
    JobRequest,
    LogLine,
    MatchReply,
    RetryReply,
    Status,
)

QUICK_PAUSE: Final = 0.5
"""The seconds before the next request if the server answered early, as it does before it stops."""
BATCH_JOBS: Final = 1000
PAGE: Final = 100
SLOW: Final = 30.0
"""The seconds that the server may take to look at thousands of jobs."""


class JobFilters(TypedDict, total=False):
    """The jobs that an action is for. A missing filter matches all; `all` is needed if there is none.

    Ages are seconds since a job was created. `q`: a text in the id, type, payload or an error. `error`: one in an
    error. Times have a zone. `cancel_matching` takes none.
    """

    ids: Sequence[str]
    queue: str
    type: str
    status: Status
    tag: str
    dedupe_key: str
    older_than: float
    younger_than: float
    q: str
    error: str
    finished_after: datetime
    finished_before: datetime
    all: bool
    cursor: str


class JobCalls:
    """The calls of Client about jobs. All of them raise ClientError."""

    _http: Http

    async def enqueue(
        self, type: str, payload: Any = None, *, batch: Batch | None = None, **options: Unpack[JobOptions]
    ) -> EnqueueReply:
        """Enqueue a job. When this returns, the store has it.

        The payload is anything that msgspec can encode as JSON. The client makes the id, so that it can safely send the
        request again if the answer is lost. To retry the call yourself, pass `id=new_id(dedupe_key)`.

        With a `batch` the payload becomes an item of its job, whose id is in the answer; `id` is that of the item.
        """
        return await self.send(job_request(type, payload, options, batch))

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
        until = _end_of(wait, "wait")
        body = Raw(request_json(job_request(type, payload, options)))
        job = await self._http.call("POST", "/v1/jobs", Job, body=body, until=until)
        if job.status in FINAL:
            return job
        return await self.wait(job.id, max(0.0, until - _now()))

    async def get(self, id: str) -> Job:
        """Return the job."""
        return await self._http.call("GET", _path(id), Job)

    async def wait(self, id: str, timeout: float = 60.0) -> Job:
        """Return the job when it has finished, or after `timeout` seconds as it is then. Check its `status`.

        It goes on over a restart of the server.
        """
        until = _end_of(timeout, "timeout")
        while True:
            began = _now()
            job = await self._http.call("GET", _path(id), Job, until=until)
            left = until - _now()
            if job.status in FINAL or left <= 0:
                return job
            if _now() - began < min(until - began, MAX_WAIT) / 2:
                await asyncio.sleep(min(QUICK_PAUSE, left))

    async def jobs(
        self,
        *,
        queue: str | None = None,
        status: Status | None = None,
        type: str | None = None,
        tag: str | None = None,
        dedupe_key: str | None = None,
        older_than: float | None = None,
        younger_than: float | None = None,
        q: str | None = None,
        error: str | None = None,
        finished_after: datetime | None = None,
        finished_before: datetime | None = None,
    ) -> AsyncIterator[Job]:
        """Yield the jobs of this queue, status and type, with this tag and dedupe key. Pages are fetched as needed.

        `older_than` and `younger_than`: the seconds since a job was created, at least and at most. `q`: a text in the
        id, type, payload or an error; `error`: one in an error. `finished_after`, `finished_before`: times with a zone.
        """
        words = {"queue": queue, "status": status, "type": type, "tag": tag, "dedupe_key": dedupe_key}
        ages = {"older_than": older_than, "younger_than": younger_than}
        texts = {"q": q, "error": error}
        times = {"finished_after": _time(finished_after), "finished_before": _time(finished_before)}
        query: dict[str, str | int | float | None] = {**words, **ages, **texts, **times, "limit": PAGE}
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

    async def log(self, id: str) -> list[LogLine]:
        """Return the last lines that the job's attempts have logged, oldest first."""
        return (await self._http.call("GET", _path(id, "/log"), JobLog)).lines

    async def cancel(self, id: str) -> CancelReply:
        """Cancel a job; a running handler is asked to stop. Raises WrongState if the job has finished."""
        return await self._http.call("POST", _path(id, "/cancel"), CancelReply)

    async def retry(self, id: str) -> RetryReply:
        """Retry a dead job, or run a scheduled job immediately. Raises WrongState for other jobs."""
        return await self._http.call("POST", _path(id, "/retry"), RetryReply, repeatable=False)

    async def delete(self, id: str) -> None:
        """Delete a finished job. Raises WrongState for other jobs."""
        await self._http.call("DELETE", _path(id), type(None), repeatable=False)

    async def cancel_matching(
        self, *, limit: int = 1000, dry_run: bool = False, **filters: Unpack[JobFilters]
    ) -> MatchReply:
        """Cancel up to `limit` jobs that have not finished; running handlers are asked to stop."""
        return await self._act_on("cancel", limit, dry_run, filters)

    async def retry_matching(
        self, *, limit: int = 1000, dry_run: bool = False, **filters: Unpack[JobFilters]
    ) -> MatchReply:
        """Retry up to `limit` dead jobs, or with `status="scheduled"` run scheduled jobs immediately."""
        return await self._act_on("retry", limit, dry_run, filters)

    async def delete_matching(
        self, *, limit: int = 1000, dry_run: bool = False, **filters: Unpack[JobFilters]
    ) -> MatchReply:
        """Delete up to `limit` finished jobs."""
        return await self._act_on("delete", limit, dry_run, filters)

    async def _act_on(self, verb: str, limit: int, dry_run: bool, filters: Mapping[str, Any]) -> MatchReply:
        body = {**filters, "limit": limit, "dry_run": dry_run}
        return await self._http.call("POST", f"/v1/jobs/{verb}", MatchReply, body=body, repeatable=dry_run, wait=SLOW)


def _time(given: datetime | None) -> str | None:
    """Return a time as the API takes it. Raises ValueError without a zone."""
    if given is not None and given.tzinfo is None:
        raise ValueError(f"The time {given} has no zone. Give one, as in datetime.now(UTC).")
    return None if given is None else given.isoformat()


def _path(id: str, rest: str = "") -> str:
    return f"/v1/jobs/{quote(id, safe='')}{rest}"


def _end_of(seconds: float, name: str) -> float:
    """Return the time when a wait of so many seconds ends. Infinity never ends.

    Raises TypeError for what is not a number, and ValueError for NaN.
    """
    given: object = seconds
    if given is None:
        raise TypeError(f"{name} must be a number of seconds, not None. Pass float('inf') to wait without end.")
    if not isinstance(given, Real):  # one of another library is not sent, so it will do
        check_seconds(name, given)
    if isnan(seconds):
        raise ValueError("A client cannot wait for nan seconds. Give a number of seconds.")
    return _now() + seconds


def _now() -> float:
    return asyncio.get_running_loop().time()

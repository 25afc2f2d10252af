"""The routes of existing jobs: list, show, cancel, retry, explain and delete them.

To a caller without a grant for its queue, a job does not exist.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from queuey import log
from queuey.api.http.body import read_headers
from queuey.api.http.endpoints import reply
from queuey.api.http.etags import reply_unless_known
from queuey.api.http.operations import Operation, Parameter, QueueName
from queuey.api.http.query import Parameters, parameters_of
from queuey.api.http.waiting import APPLIED, PREFER, WAIT, wait_for_end, wanted_wait
from queuey.api.openapi.samples import JOB, JOB_ID, JOB_LOG, PAGE
from queuey.errors import Full, WrongState
from queuey.metrics import Metrics
from queuey.protocol.allowed import in_words
from queuey.protocol.credentials import Principal
from queuey.protocol.models import (
    FINAL,
    STATUSES,
    YEAR,
    CancelReply,
    Explanation,
    Job,
    JobLog,
    JobPage,
    RetryReply,
    Seconds,
    Status,
)
from queuey.protocol.models.labels import TAG_PATTERN, TAG_RULE, Tag
from queuey.protocol.models.matching import MAX_SEARCHED, Text, Time
from queuey.services.jobs import actions as jobs
from queuey.services.jobs.explain import explain
from queuey.services.jobs.listing import MAX_PAGE, Wanted, list_jobs
from queuey.services.jobs.producer import Producer, no_room
from queuey.services.jobs.waiters import Waiters
from queuey.services.matching.brief import brief_page
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

DEFAULT_PAGE: Final = 50
MAX_KEY: Final = 256

_log = log.get(__name__)

_TAG: Final = re.compile(TAG_PATTERN)
_Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
_Cursor = Annotated[str, Meta(min_length=1, max_length=1024)]
_DedupeKey = Annotated[str, Meta(min_length=1, max_length=MAX_KEY)]
_AGE: Final = in_words(Seconds, "seconds")

LIST: Final = Operation(
    "list_jobs",
    "List jobs, page by page",
    {200: JobPage},
    description="Covers the queues that the key may read. A page may be short although there is a next one; "
    "`looked_at` says how far it went. With `fields=brief` a job has no `payload` or `result`, and short errors.",
    query=(
        Parameter("queue", QueueName, "Only jobs of this queue", example="mail"),
        Parameter("status", Status, "Only jobs with this status", example="dead_letter"),
        Parameter("type", QueueName, "Only jobs of this type", example="text.reverse"),
        Parameter("tag", Tag, "Only jobs with this tag", example="customer:42"),
        Parameter("dedupe_key", _DedupeKey, "Only jobs with this dedupe key", example="greeting:1"),
        Parameter("older_than", Seconds, "Only jobs that were created at least this many seconds ago", example=60),
        Parameter("younger_than", Seconds, "Only jobs that were created at most this many seconds ago", example=3600),
        Parameter("q", Text, "Only jobs with this text in id, type, payload or error", example="ada@"),
        Parameter("error", Text, "Only jobs with this text in an error", example="timed"),
        Parameter("finished_after", Time, "Only jobs that ended then or later", example="2026-11-01T00:00:00Z"),
        Parameter("finished_before", Time, "Only jobs that ended before this time", example="2036-11-01T00:00:00Z"),
        Parameter("fields", Literal["all", "brief"], "brief: without payloads and results, with short errors", "all"),
        Parameter("limit", _Limit, "Maximum number of jobs", DEFAULT_PAGE),
        Parameter("cursor", _Cursor, "`next` of the page before, sent with the same filters"),
    ),
    sample=PAGE,
    gives=(Parameter("Link", str, 'The next page, as rel="next"'),),
)
SHOW: Final = Operation(
    "get_job",
    "Get a job, with its status and result",
    {200: Job, 304: None},
    query=(WAIT,),
    headers=(PREFER, Parameter("If-None-Match", str, "Answer 304 when the job still has this ETag")),
    sample=JOB,
    gives=(Parameter("ETag", str, "A text that changes when the job changes"), APPLIED),
    errors=(Full,),
)
CANCEL: Final = Operation(
    "cancel_job",
    "Cancel a job",
    {200: CancelReply},
    description="A waiting job is cancelled at once; a running job when its worker has stopped it. Sending it again is "
    "safe.",
    sample={"job_id": JOB_ID, "status": "cancelled"},
    errors=(WrongState,),
)
RETRY: Final = Operation(
    "retry_job",
    "Retry a dead job, or run a scheduled job immediately",
    {200: RetryReply},
    sample={"job_id": JOB_ID, "status": "queued"},
    errors=(WrongState, Full),
)
EXPLAIN: Final = Operation(
    "explain_job",
    "Explain why a job does not run",
    {200: Explanation},
    description="It may wait for its time, its turn, the resume of its queue, or a worker that knows its type.",
    sample={
        "job_id": JOB_ID,
        "status": "queued",
        "reason": "waiting",
        "detail": "3 jobs of the queue default run before it.",
        "position": 2,
        "ahead": {"high": 2, "default": 1, "low": 0},
        "workers": ["host-5657-e21e"],
    },
)
SHOW_LOG: Final = Operation(
    "get_job_log",
    "Get the lines that a job's handler has logged",
    {200: JobLog},
    description="The last 100 lines of all attempts, oldest first, with 4 kB of text. They are kept with the job.",
    sample=JOB_LOG,
)
DELETE: Final = Operation("delete_job", "Delete a finished job", {204: None}, errors=(WrongState,))


def _age(given: Parameters, name: str) -> float | UnsetType:
    seconds = given.seconds(name, YEAR, _AGE)
    return UNSET if seconds is None else seconds


class JobRoutes:
    """Answers the routes of existing jobs.

    `request_deadline`: the seconds for each call to the store. `unknown_type_ttl`: seconds.
    """

    def __init__(
        self,
        broker: Broker,
        producer: Producer,
        waiters: Waiters,
        *,
        metrics: Metrics,
        request_deadline: float,
        unknown_type_ttl: float,
    ) -> None:
        self._metrics = metrics
        self._broker = broker
        self._producer = producer
        self._waiters = waiters
        self._request_deadline = request_deadline
        self._unknown_type_ttl = unknown_type_ttl

    async def show(self, request: Request, caller: Principal) -> Response:
        """Answer with a job, at once or when it has finished."""
        wait = wanted_wait(request.scope, read_headers(request.scope["headers"]))
        job_id = request.path_params["id"]
        job = await self._find(job_id, caller, "read", Deadline(self._request_deadline))
        if wait is None:
            return reply_unless_known(request, job)
        if wait.seconds and job.status not in FINAL:
            await wait_for_end(self._waiters, job_id, wait.seconds, request.receive)
            job = await self._find(job_id, caller, "read", Deadline(self._request_deadline))
        return reply_unless_known(request, job, wait.headers)

    async def list(self, request: Request, caller: Principal) -> Response:
        """Answer with a page of the jobs in the queues that the caller may read."""
        with parameters_of(request, *(parameter.name for parameter in LIST.query)) as given:
            wanted = Wanted(
                given.name("queue"),
                given.one_of("status", STATUSES),
                given.name("type"),
                given.form("tag", _TAG, TAG_RULE) or UNSET,
                given.text("dedupe_key", MAX_KEY) or UNSET,
                _age(given, "older_than"),
                _age(given, "younger_than"),
                given.text("q", MAX_SEARCHED) or UNSET,
                given.text("error", MAX_SEARCHED) or UNSET,
                given.time("finished_after") or UNSET,
                given.time("finished_before") or UNSET,
            )
            brief = given.one_of("fields", ("all", "brief")) == "brief"
            limit = given.whole_number("limit", least=1, most=MAX_PAGE, default=DEFAULT_PAGE)
            cursor = given.text("cursor")

        def visible(queue: str) -> bool:
            return caller.allows("read", queue)

        deadline = Deadline(self._request_deadline)
        page = await list_jobs(self._broker, wanted, visible, limit, cursor, deadline)
        answer = brief_page(page) if brief else page
        if page.next is None:
            return reply(answer)
        link = urlencode({**dict(request.query_params), "limit": limit, "cursor": page.next})
        return reply(answer, headers={"Link": f'<{request.url.path}?{link}>; rel="next"'})

    async def cancel(self, request: Request, caller: Principal) -> Response:
        """Cancel a job."""
        deadline = Deadline(self._request_deadline)
        job_id = request.path_params["id"]
        if not caller.allows("submit"):
            await self._find(job_id, caller, "submit", deadline)
        answer = await jobs.cancel(self._broker, job_id, deadline)
        _log.info("job_cancel_requested", job_id=job_id, status=answer.status, by=caller.name)
        return reply(answer)

    async def retry(self, request: Request, caller: Principal) -> Response:
        """Retry a dead job, or run a scheduled job immediately."""
        deadline = Deadline(self._request_deadline)
        job = await self._find(request.path_params["id"], caller, "submit", deadline)
        if job.status == "dead_letter" and self._producer.full:
            raise no_room()
        answer = await jobs.retry(self._broker, job, deadline, self._metrics)
        _log.info("job_retried", job_id=job.id, was=job.status, by=caller.name)
        return reply(answer)

    async def explain(self, request: Request, caller: Principal) -> Response:
        """Explain why a job does not run."""
        deadline = Deadline(self._request_deadline)
        job = await self._find(request.path_params["id"], caller, "read", deadline)
        return reply(await explain(self._broker, job, deadline, self._unknown_type_ttl))

    async def log(self, request: Request, caller: Principal) -> Response:
        """Answer with the lines that the job's attempts have logged."""
        deadline = Deadline(self._request_deadline)
        job = await self._find(request.path_params["id"], caller, "read", deadline)
        return reply(await jobs.log(self._broker, job, deadline))

    async def delete(self, request: Request, caller: Principal) -> Response:
        """Delete a finished job."""
        deadline = Deadline(self._request_deadline)
        job = await self._find(request.path_params["id"], caller, "admin", deadline)
        await jobs.delete(self._broker, job, deadline)
        _log.info("job_deleted", job_id=job.id, was=job.status, by=caller.name)
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    async def _find(self, job_id: str, caller: Principal, scope: str, deadline: Deadline) -> Job:
        job = await jobs.find(self._broker, job_id, deadline)
        if not caller.allows(scope, job.queue):
            raise jobs.unknown_job(job_id)
        return job

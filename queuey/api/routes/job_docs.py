"""What the routes of jobs that are there already take and give."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from queuey.api.http.operations import Operation, Parameter, QueueName
from queuey.api.http.waiting import APPLIED, PREFER, WAIT
from queuey.api.openapi.samples import JOB, JOB_ID, PAGE
from queuey.api.routes.jobs import DEFAULT_PAGE
from queuey.errors import Full, WrongState
from queuey.protocol.models import CancelReply, Explanation, Job, JobPage, RetryReply, Status
from queuey.services.jobs.listing import MAX_PAGE

_Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
_Cursor = Annotated[str, Meta(min_length=1, max_length=1024)]

LIST: Final = Operation(
    "list_jobs",
    "List jobs, page by page",
    {200: JobPage},
    description="Of the queues that the key may read. A page may be short and have a next one all the same.",
    query=(
        Parameter("queue", QueueName, "Only jobs of this queue", example="mail"),
        Parameter("status", Status, "Only jobs with this status", example="dead_letter"),
        Parameter("type", QueueName, "Only jobs of this type", example="text.reverse"),
        Parameter("limit", _Limit, "How many jobs at most", DEFAULT_PAGE),
        Parameter("cursor", _Cursor, "Where to go on: `next` of the page before, with the same filters"),
    ),
    sample=PAGE,
    gives=(Parameter("Link", str, 'The next page, as rel="next"'),),
)
SHOW: Final = Operation(
    "get_job",
    "What became of a job",
    {200: Job, 304: None},
    query=(WAIT,),
    headers=(PREFER, Parameter("If-None-Match", str, "304 when the job is still as it was with this ETag")),
    sample=JOB,
    gives=(Parameter("ETag", str, "Changes with the job"), APPLIED),
    errors=(Full,),
)
CANCEL: Final = Operation(
    "cancel_job",
    "Cancel a job that waits, or tell the worker of one that runs",
    {200: CancelReply},
    description="A job that was cancelled already is answered in the same way.",
    sample={"job_id": JOB_ID, "status": "cancelled"},
    errors=(WrongState,),
)
RETRY: Final = Operation(
    "retry_job",
    "Run a dead job anew, or a scheduled one now",
    {200: RetryReply},
    sample={"job_id": JOB_ID, "status": "queued"},
    errors=(WrongState, Full),
)
EXPLAIN: Final = Operation(
    "explain_job",
    "Why a job does not run",
    {200: Explanation},
    description="What it waits for: a time, its turn, its queue, or a worker that knows its type.",
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
DELETE: Final = Operation("delete_job", "Delete a finished job", {204: None}, errors=(WrongState,))

"""The routes of dead jobs: list, group, replay and delete them, and replace the payload of one."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET, Meta, Raw
from starlette.requests import Request
from starlette.responses import Response

from queuey import log
from queuey.api.http.auth import require
from queuey.api.http.body import JSON, media_type, read_body, read_headers
from queuey.api.http.endpoints import reply
from queuey.api.http.json_body import JsonBody
from queuey.api.http.operations import Operation, Parameter, QueueName
from queuey.api.http.query import Parameters, parameters_of
from queuey.errors import Full, Malformed, TooLarge, WrongState
from queuey.metrics import Metrics
from queuey.protocol.allowed import in_words
from queuey.protocol.credentials import Principal
from queuey.protocol.json.checks import check_payload, check_text
from queuey.protocol.models import (
    YEAR,
    DeadGroups,
    DeadPage,
    DeadReply,
    DeleteDead,
    EditReply,
    Fingerprint,
    Rate,
    ReplayDead,
    Seconds,
)
from queuey.services.dlq import actions, dead_jobs
from queuey.services.dlq.scan import MAX_LOOKED_AT, Filter
from queuey.services.jobs import actions as jobs
from queuey.services.jobs.producer import Producer, no_room
from queuey.services.jobs.submission import Submission
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

DEFAULT_PAGE: Final = 50
_FINGERPRINT: Final = "16 hexadecimal digits, as GET /v1/dlq/groups shows them"
_WORDS: Final = {"/fingerprint": _FINGERPRINT, "/rate": in_words(Rate, "jobs a second")}
_REPLAY_BODY: Final = JsonBody(ReplayDead, _WORDS)
_DELETE_BODY: Final = JsonBody(DeleteDead, _WORDS)
_HEX: Final = re.compile(r"[0-9a-f]{16}")
_AGE: Final = in_words(Seconds, "seconds")
_log = log.get(__name__)

_FILTERS: Final = (
    Parameter("queue", QueueName, "Only jobs of this queue", example="mail"),
    Parameter("type", QueueName, "Only jobs of this type", example="mail.send"),
    Parameter("fingerprint", Fingerprint, "Only jobs that died of this error", example="0123456789abcdef"),
    Parameter("older_than", Seconds, "Only jobs that died at least this many seconds ago", example=3600),
    Parameter("younger_than", Seconds, "Only jobs that died at most this many seconds ago", example=86400),
)
_GROUP: Final = "Dead-letter queue"
LIST: Final = Operation(
    "list_dead_jobs",
    "List dead jobs, the longest dead first",
    {200: DeadPage},
    description="Covers the queues that the key may read. A page may be short although there is a next one.",
    query=(
        *_FILTERS,
        Parameter("limit", Annotated[int, Meta(ge=1, le=dead_jobs.MAX_PAGE)], "Maximum number of jobs", DEFAULT_PAGE),
        Parameter(
            "cursor",
            Annotated[str, Meta(min_length=1, max_length=1024)],
            "`next` of the page before, sent with the same filters",
        ),
    ),
    gives=(Parameter("Link", str, 'The next page, as rel="next"'),),
    group=_GROUP,
)
GROUPS: Final = Operation(
    "group_dead_jobs",
    "Group dead jobs by their error",
    {200: DeadGroups},
    description=f"Covers the {MAX_LOOKED_AT} jobs that have been dead longest, in the queues that the key may read.",
    query=_FILTERS,
    group=_GROUP,
)
REPLAY: Final = Operation(
    "replay_dead",
    "Replay the dead jobs that match the filters",
    {200: DeadReply},
    description="The longest dead first, in the queues where the key has the scope admin. `dry_run` only counts.",
    body=ReplayDead,
    example={"type": "mail.send", "older_than": 3600, "limit": 500, "rate": 10, "dry_run": True},
    errors=(Full,),
    group=_GROUP,
)
DELETE: Final = Operation(
    "delete_dead",
    "Delete the dead jobs that match the filters, for good",
    {200: DeadReply},
    description="The longest dead first, in the queues where the key has the scope admin. `dry_run` only counts.",
    body=DeleteDead,
    example={"fingerprint": "0123456789abcdef", "dry_run": True},
    group=_GROUP,
)
EDIT: Final = Operation(
    "edit_payload",
    "Replace the payload of a dead job",
    {200: EditReply},
    description="The payload is any JSON value. With `requeue=true` the job is retried at once.",
    query=(Parameter("requeue", bool, "Retry the job at once", False),),
    body=Any,
    example={"to": "ada@example.com"},
    errors=(WrongState, Full),
    group=_GROUP,
)


class DeadLetterRoutes:
    """Answers the routes of dead jobs. `request_deadline` is in seconds, limits are in bytes."""

    def __init__(
        self,
        broker: Broker,
        producer: Producer,
        submission: Submission,
        *,
        metrics: Metrics,
        request_deadline: float,
        body_limit: int,
        payload_limit: int,
        json_depth: int,
    ) -> None:
        self._metrics = metrics
        self._broker = broker
        self._producer = producer
        self._submission = submission
        self._request_deadline = request_deadline
        self._body_limit = body_limit
        self._payload_limit = payload_limit
        self._depth = json_depth

    async def list(self, request: Request, caller: Principal) -> Response:
        """Answer with a page of the jobs in the queues that the caller may read."""
        with parameters_of(request, *(parameter.name for parameter in LIST.query)) as given:
            wanted = _filter(given)
            limit = given.whole_number("limit", least=1, most=dead_jobs.MAX_PAGE, default=DEFAULT_PAGE)
            cursor = given.text("cursor")
        page = await dead_jobs.list_dead(
            self._broker, wanted, lambda queue: caller.allows("read", queue), limit, cursor, self._request_deadline
        )
        if page.next is None:
            return reply(page)
        query = {**msgspec.structs.asdict(wanted), "limit": limit, "cursor": page.next}
        link = urlencode({name: value for name, value in query.items() if value is not None})
        return reply(page, headers={"Link": f'<{request.url.path}?{link}>; rel="next"'})

    async def groups(self, request: Request, caller: Principal) -> Response:
        """Answer with the groups of dead jobs."""
        with parameters_of(request, *(parameter.name for parameter in GROUPS.query)) as given:
            wanted = _filter(given)
        return reply(
            await dead_jobs.group_dead(
                self._broker, wanted, lambda queue: caller.allows("read", queue), self._request_deadline
            )
        )

    async def replay(self, request: Request, caller: Principal) -> Response:
        """Replay the dead jobs that match the body."""
        asked = await _REPLAY_BODY.read(request, self._body_limit)
        _check_scope(asked, caller)
        if self._producer.full and not asked.dry_run:
            raise no_room()
        answer = await actions.replay_matching(
            self._broker,
            _asked_filter(asked),
            lambda queue: caller.allows("admin", queue),
            limit=asked.limit,
            dry_run=asked.dry_run,
            rate=asked.rate,
            request_deadline=self._request_deadline,
            metrics=self._metrics,
        )
        _log.info("dead_jobs_replayed", jobs=answer.done, dry_run=asked.dry_run, by=caller.name)
        return reply(answer)

    async def delete(self, request: Request, caller: Principal) -> Response:
        """Delete the dead jobs that match the body."""
        asked = await _DELETE_BODY.read(request, self._body_limit)
        _check_scope(asked, caller)
        answer = await actions.delete_matching(
            self._broker,
            _asked_filter(asked),
            lambda queue: caller.allows("admin", queue),
            limit=asked.limit,
            dry_run=asked.dry_run,
            request_deadline=self._request_deadline,
        )
        _log.info("dead_jobs_deleted", jobs=answer.done, dry_run=asked.dry_run, by=caller.name)
        return reply(answer)

    async def edit(self, request: Request, caller: Principal) -> Response:
        """Replace the payload of a dead job, and retry it if asked to."""
        with parameters_of(request, "requeue") as given:
            requeue = given.one_of("requeue", ("true", "false")) == "true"
        payload = await self._payload(request)
        deadline = Deadline(self._request_deadline)
        job = await jobs.find(self._broker, request.path_params["id"], deadline)
        if not caller.allows("admin", job.queue):
            raise jobs.unknown_job(job.id)
        if job.status != "dead_letter":
            raise WrongState(f"The job is {job.status}. Only the payload of a dead_letter job can be replaced.")
        self._submission.check_fit(job.type, bytes(payload))
        if self._producer.full:
            raise no_room()
        edited = await actions.edit_payload(
            self._broker, job, payload, requeue=requeue, deadline=deadline, metrics=self._metrics
        )
        _log.info("payload_edited", job_id=job.id, requeue=requeue, by=caller.name)
        return reply(edited)

    async def _payload(self, request: Request) -> Raw:
        """Return the body as a payload. Raises Malformed, Invalid, TooLarge or UnsupportedMedia."""
        headers = read_headers(request.scope["headers"])
        media_type(headers, JSON)
        text = await read_body(headers, request.receive, self._body_limit)
        if not text or text.isspace():
            raise Malformed("The body is empty. Send the payload as JSON.")
        if len(text) > self._payload_limit:
            raise TooLarge(f"The payload has {len(text)} bytes. Send at most {self._payload_limit}.")
        check_text(text, self._depth)
        check_payload(text)
        return Raw(text.strip())


def _check_scope(asked: DeleteDead, caller: Principal) -> None:
    if asked.queue is not UNSET:
        require(caller, "admin", asked.queue)


def _asked_filter(asked: DeleteDead) -> Filter:
    given = {name: value for name in Filter.__struct_fields__ if (value := getattr(asked, name)) is not UNSET}
    return Filter(**given)


def _filter(given: Parameters) -> Filter:
    """Return the filters of a request."""
    return Filter(
        given.name("queue"),
        given.name("type"),
        given.form("fingerprint", _HEX, _FINGERPRINT),
        given.seconds("older_than", YEAR, _AGE),
        given.seconds("younger_than", YEAR, _AGE),
    )

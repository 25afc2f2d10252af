"""GET /v1/dlq, GET /v1/dlq/groups, POST /v1/dlq/replay|delete, and PUT /v1/jobs/{id}/payload."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Raw
from starlette.requests import Request
from starlette.responses import Response

from queuey import log
from queuey.api.http.auth import require
from queuey.api.http.body import JSON, media_type, read_body, read_headers
from queuey.api.http.endpoints import reply
from queuey.api.http.json_body import JsonBody
from queuey.api.http.operations import Operation, Parameter, QueueName
from queuey.api.http.query import Parameters, invalid_parameter
from queuey.errors import Full, Malformed, TooLarge, WrongState
from queuey.metrics import Metrics
from queuey.protocol.credentials import Principal
from queuey.protocol.json_checks import check_payload, check_text
from queuey.protocol.models import (
    YEAR,
    DeadGroups,
    DeadPage,
    DeadReply,
    DeleteDead,
    EditReply,
    Fingerprint,
    ReplayDead,
    Seconds,
)
from queuey.services.dlq import dead_jobs
from queuey.services.dlq.scan import MAX_LOOKED_AT, Filter
from queuey.services.jobs import actions as jobs
from queuey.services.jobs.producer import Producer, no_room
from queuey.services.jobs.submission import Submission
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

DEFAULT_PAGE: Final = 50
_NAME: Final = "1 to 64 letters, digits, '.', '_' and '-', of which the first is a letter or a digit"
_AGE: Final = "a number of seconds from 0 to 31536000, a year"
_ALLOWED: Final = {
    "/queue": _NAME,
    "/type": _NAME,
    "/fingerprint": "16 hexadecimal digits, as GET /v1/dlq/groups tells them",
    "/older_than": _AGE,
    "/younger_than": _AGE,
    "/limit": "a whole number from 1 to 10000",
    "/dry_run": "true or false",
    "/rate": "jobs a second, from 0.01 to 100000",
}
_REPLAY_BODY: Final = JsonBody(ReplayDead, _ALLOWED)
_DELETE_BODY: Final = JsonBody(DeleteDead, _ALLOWED)
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_log = log.get(__name__)

_FILTERS: Final = (
    Parameter("queue", QueueName, "Only jobs of this queue", example="mail"),
    Parameter("type", QueueName, "Only jobs of this type", example="mail.send"),
    Parameter("fingerprint", Fingerprint, "Only jobs that died of this", example="0123456789abcdef"),
    Parameter("older_than", Seconds, "Only jobs that died at least so many seconds ago", example=3600),
    Parameter("younger_than", Seconds, "Only jobs that died at most so many seconds ago", example=86400),
)
_GROUP: Final = "Dead-letter queue"
LIST: Final = Operation(
    "list_dead_jobs",
    "List dead jobs, the longest dead first, with what they died of",
    {200: DeadPage},
    description="Of the queues that the key may read. A page may be short and have a next one all the same.",
    query=(
        *_FILTERS,
        Parameter("limit", Annotated[int, Meta(ge=1, le=dead_jobs.MAX_PAGE)], "How many jobs at most", DEFAULT_PAGE),
        Parameter(
            "cursor",
            Annotated[str, Meta(min_length=1, max_length=1024)],
            "Where to go on: `next` of the page before, with the same filters",
        ),
    ),
    gives=(Parameter("Link", str, 'The next page, as rel="next"'),),
    group=_GROUP,
)
GROUPS: Final = Operation(
    "group_dead_jobs",
    "What jobs died of, and how many of each",
    {200: DeadGroups},
    description=f"Of the queues that the key may read. The {MAX_LOOKED_AT} that have been dead longest are looked at.",
    query=_FILTERS,
    group=_GROUP,
)
REPLAY: Final = Operation(
    "replay_dead",
    "Run dead jobs anew that fit some filters",
    {200: DeadReply},
    description="The longest dead first, in the queues over which the key is admin. `dry_run` only counts.",
    body=ReplayDead,
    example={"type": "mail.send", "older_than": 3600, "limit": 500, "rate": 10, "dry_run": True},
    errors=(Full,),
    group=_GROUP,
)
DELETE: Final = Operation(
    "delete_dead",
    "Delete dead jobs that fit some filters",
    {200: DeadReply},
    description="For good; the longest dead first, in the queues over which the key is admin. `dry_run` only counts.",
    body=DeleteDead,
    example={"fingerprint": "0123456789abcdef", "dry_run": True},
    group=_GROUP,
)
EDIT: Final = Operation(
    "edit_payload",
    "Give a dead job another payload",
    {200: EditReply},
    description="Any JSON value. It runs anew by `requeue=true`, or by a retry later.",
    query=(Parameter("requeue", bool, "Run it anew at once", False),),
    body=Any,
    example={"to": "ada@example.com"},
    errors=(WrongState, Full),
    group=_GROUP,
)


class DeadLetterRoutes:
    """The endpoints of the dead letter queue. `request_deadline` is in seconds, limits are in bytes."""

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
        """Those of the queues that the caller may read."""
        parameters = Parameters(request, *(parameter.name for parameter in LIST.query))
        wanted = _filter(parameters)
        limit = parameters.whole_number("limit", least=1, most=dead_jobs.MAX_PAGE, default=DEFAULT_PAGE)
        cursor = parameters.text("cursor")
        page = await dead_jobs.list_dead(
            self._broker, wanted, lambda queue: caller.allows("read", queue), limit, cursor, self._request_deadline
        )
        if page.next is None:
            return reply(page)
        query = {**msgspec.structs.asdict(wanted), "limit": limit, "cursor": page.next}
        link = urlencode({name: value for name, value in query.items() if value is not None})
        return reply(page, headers={"Link": f'<{request.url.path}?{link}>; rel="next"'})

    async def groups(self, request: Request, caller: Principal) -> Response:
        wanted = _filter(Parameters(request, *(parameter.name for parameter in GROUPS.query)))
        return reply(
            await dead_jobs.group_dead(
                self._broker, wanted, lambda queue: caller.allows("read", queue), self._request_deadline
            )
        )

    async def replay(self, request: Request, caller: Principal) -> Response:
        asked = await _REPLAY_BODY.read(request, self._body_limit)
        _check_scope(asked, caller)
        if self._producer.full and not asked.dry_run:
            raise no_room()
        answer = await dead_jobs.replay_matching(
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
        asked = await _DELETE_BODY.read(request, self._body_limit)
        _check_scope(asked, caller)
        answer = await dead_jobs.delete_matching(
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
        requeue = Parameters(request, "requeue").one_of("requeue", ("true", "false")) == "true"
        payload = await self._payload(request)
        deadline = Deadline(self._request_deadline)
        job = await jobs.find(self._broker, request.path_params["id"], deadline)
        if not caller.allows("admin", job.queue):
            raise jobs.unknown_job(job.id)
        if job.status != "dead_letter":
            raise WrongState(f"The job is {job.status}; its payload can be changed while it is dead_letter.")
        self._submission.check_fit(job.type, bytes(payload))
        if self._producer.full:
            raise no_room()
        edited = await dead_jobs.edit_payload(
            self._broker, job, payload, requeue=requeue, deadline=deadline, metrics=self._metrics
        )
        _log.info("payload_edited", job_id=job.id, requeue=requeue, by=caller.name)
        return reply(edited)

    async def _payload(self, request: Request) -> Raw:
        """Raises Malformed, Invalid, TooLarge or UnsupportedMedia."""
        headers = read_headers(request.scope["headers"])
        media_type(headers, JSON)
        text = await read_body(headers, request.receive, self._body_limit)
        if not text or text.isspace():
            raise Malformed("The body is empty; send the payload as JSON.")
        if len(text) > self._payload_limit:
            raise TooLarge(f"The payload has {len(text)} bytes, and {self._payload_limit} are allowed.")
        check_text(text, self._depth)
        check_payload(text)
        return Raw(text.strip())


def _check_scope(asked: DeleteDead, caller: Principal) -> None:
    if asked.queue is not None:
        require(caller, "admin", asked.queue)


def _asked_filter(asked: DeleteDead) -> Filter:
    return Filter(asked.queue, asked.type, asked.fingerprint, asked.older_than, asked.younger_than)


def _filter(parameters: Parameters) -> Filter:
    """Raises Invalid, which names the parameter at fault."""
    mark = parameters.text("fingerprint")
    if mark is not None and not (len(mark) == 16 and set(mark) <= set("0123456789abcdef")):
        raise invalid_parameter("fingerprint", f"must be {_ALLOWED['/fingerprint']}")
    return Filter(
        parameters.name("queue"),
        parameters.name("type"),
        mark,
        _age(parameters, "older_than"),
        _age(parameters, "younger_than"),
    )


def _age(parameters: Parameters, name: str) -> float | None:
    text = parameters.raw(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or float(text) > YEAR:
        raise invalid_parameter(name, f"must be {_AGE}")
    return float(text)

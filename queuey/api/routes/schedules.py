"""The routes of schedules: put, show, list, delete, pause, resume, trigger, backfill and preview them.

To a caller without a grant for the queue of its jobs, a schedule does not exist.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Final
from urllib.parse import urlencode

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from queuey import log
from queuey.api.http.auth import require
from queuey.api.http.body import JSON, media_type, read_body, read_headers
from queuey.api.http.endpoints import reply
from queuey.api.http.etags import precondition
from queuey.api.http.json_body import JsonBody
from queuey.api.http.operations import Operation, Parameter, QueueName
from queuey.api.http.query import parameters_of
from queuey.api.openapi.samples import JOB_ID, SCHEDULE, SCHEDULE_REQUEST
from queuey.api.routes.queues import PAUSE_BODY
from queuey.errors import Conflict, Full, PreconditionFailed, UpgradeInProgress
from queuey.protocol import idempotency
from queuey.protocol.allowed import SOON
from queuey.protocol.credentials import Principal
from queuey.protocol.models import (
    MAX_BACKFILLED,
    BackfillReply,
    BackfillRequest,
    PauseRequest,
    PreviewRequest,
    Schedule,
    SchedulePage,
    SchedulePreview,
    ScheduleRequest,
    TriggerReply,
)
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission
from queuey.services.schedules.keeping import Schedules, check_name, unknown_schedule
from queuey.services.schedules.listing import MAX_PAGE, Wanted, list_schedules
from queuey.services.schedules.reading import ScheduleReader, preview
from queuey.services.schedules.ticks import Ticks
from queuey.services.schedules.triggering import Triggers
from queuey.services.schedules.views import Kept, Pause, shown
from queuey.services.schedules.warnings import clock_warnings
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

DEFAULT_PAGE: Final = 50
_TIME: Final = f"a date, a time with seconds, and a time zone, such as {SOON}"
_BACKFILL: Final = JsonBody(BackfillRequest, {"/from": _TIME, "/to": _TIME})
_log = log.get(__name__)

_Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
_Cursor = Annotated[str, Meta(min_length=1, max_length=1024)]
_IF_MATCH: Final = Parameter(
    "If-Match", str, "Only change the schedule if it has this ETag; `*`: if there is one. Else the answer is 412"
)
_IF_NONE_MATCH: Final = Parameter("If-None-Match", str, "`*`: only make a new schedule. Else the answer is 412")
_APP: Final = Parameter(
    "app", QueueName, "The App that declares it. One of another owner stays, and the answer is 412", example="shop"
)
_ETAG: Final = Parameter("ETag", str, "A text that changes when the schedule is replaced")
_KEY: Final = Parameter(
    idempotency.HEADER,
    Annotated[str, Meta(min_length=1, max_length=idempotency.MAX_KEY_BYTES, pattern="^[ -~]*$")],
    "The same request with the same key makes no second job, as long as the first job or its run is kept",
)
_REPLAYED: Final = Parameter("Idempotent-Replayed", str, "`true`: an earlier request made the job")
_CHANGES: Final = (Conflict, UpgradeInProgress)

PREVIEW: Final = Operation(
    "preview_schedule",
    "Show when a schedule would fire",
    {200: SchedulePreview},
    description="Checks a schedule and stores nothing. With a job, the scope must be over its queue.",
    body=PreviewRequest,
    example={"cron": "30 2 * * *", "timezone": "Europe/Berlin", "job": {"type": "reports.nightly"}},
    sample={
        "next": [f"2027-03-{day}T{time}:00Z" for day, time in ((26, "01:30"), (27, "01:30"), (28, "01:00"))]
        + [f"2027-03-{day}T00:30:00Z" for day in (29, 30)],
        "warnings": ["2027-03-28 has no 02:30: fires 03:00"],
    },
    group="Schedules",
)
PUT: Final = Operation(
    "put_schedule",
    "Make or replace a schedule",
    {200: Schedule, 201: Schedule},
    description="201: it is new. The same body again changes nothing. The last of several requests wins. A schedule "
    "that is replaced keeps its history and its pause. The scope must be over the queue of its jobs.",
    query=(_APP,),
    headers=(_IF_MATCH, _IF_NONE_MATCH),
    body=ScheduleRequest,
    example=SCHEDULE_REQUEST,
    sample={**SCHEDULE, "warnings": ["2027-03-28 has no 02:30: fires 03:00"]},
    gives=(_ETAG,),
    errors=(*_CHANGES, PreconditionFailed, Full),
    group="Schedules",
)
SHOW: Final = Operation(
    "get_schedule",
    "Get a schedule, with its last runs",
    {200: Schedule},
    sample={
        **SCHEDULE,
        "runs": [
            {
                "tick": SCHEDULE["last_tick"],
                "at": "2027-03-24T01:30:00.012000Z",
                "kind": "tick",
                "outcome": "fired",
                "job_id": JOB_ID,
                "count": 1,
            }
        ],
    },
    gives=(_ETAG,),
    errors=(UpgradeInProgress,),
    group="Schedules",
)
LIST: Final = Operation(
    "list_schedules",
    "List schedules, page by page",
    {200: SchedulePage},
    description="Covers the queues that the key may read. A page may be short although there is a next one.",
    query=(
        Parameter("queue", QueueName, "Only schedules whose jobs go to this queue", example="reports"),
        Parameter("limit", _Limit, "Maximum number of schedules", DEFAULT_PAGE),
        Parameter("cursor", _Cursor, "`next` of the page before, sent with the same filters"),
    ),
    sample={"schedules": [{**SCHEDULE, "next": SCHEDULE["next"][:1]}], "next": None},
    gives=(Parameter("Link", str, 'The next page, as rel="next"'),),
    group="Schedules",
)
DELETE: Final = Operation(
    "delete_schedule",
    "Delete a schedule, with its history",
    {204: None},
    description="Its jobs stay.",
    query=(_APP,),
    headers=(_IF_MATCH,),
    errors=(*_CHANGES, PreconditionFailed),
    group="Schedules",
)
PAUSE: Final = Operation(
    "pause_schedule",
    "Pause a schedule",
    {200: Schedule},
    description="It has no ticks until it is resumed, and can be triggered. Its jobs go on.",
    body=PauseRequest,
    body_needed=False,
    example={"reason": "the mail relay is down"},
    sample={
        **SCHEDULE,
        "status": "paused",
        "detail": "It was paused by ops at 2027-03-24 08:00:00Z: the mail relay is down. It has no ticks until it is "
        "resumed.",
        "next": [],
        "due_at": None,
        "paused_at": "2027-03-24T08:00:00Z",
        "paused_by": "ops",
        "pause_reason": "the mail relay is down",
    },
    gives=(_ETAG,),
    errors=_CHANGES,
    group="Schedules",
)
RESUME: Final = Operation(
    "resume_schedule",
    "Resume a schedule",
    {200: Schedule},
    description="It goes on with its next tick. Ticks during the pause are not fired later.",
    sample=SCHEDULE,
    gives=(_ETAG,),
    errors=_CHANGES,
    group="Schedules",
)
TRIGGER: Final = Operation(
    "trigger_schedule",
    "Make a job of a schedule now",
    {200: TriggerReply},
    description="Its next tick stays. The overlap rule holds for this job too.",
    headers=(_KEY,),
    sample={"outcome": "fired", "job_id": JOB_ID},
    gives=(_REPLAYED,),
    errors=(*_CHANGES, Full),
    group="Schedules",
)
BACKFILL: Final = Operation(
    "backfill_schedule",
    "Make the jobs of a schedule's ticks in the past",
    {200: BackfillReply},
    description=f"At most {MAX_BACKFILLED:,} ticks. Those that have their job, or had it, get none. The overlap rule "
    "holds for these jobs too, unless the body has another one.",
    body=BackfillRequest,
    example={"from": "2027-03-01T00:00:00Z", "to": "2027-03-03T00:00:00Z", "overlap": "allow"},
    sample={
        "ticks": ["2027-03-01T01:30:00Z", "2027-03-02T01:30:00Z"],
        "fired": 1,
        "there": 1,
        "skipped": 0,
        "pending": 0,
        "dry_run": False,
    },
    errors=(*_CHANGES, Full),
    group="Schedules",
)


class ScheduleRoutes:
    """Answers the routes under /v1/schedules. `body_limit`: in bytes; `request_deadline`: seconds."""

    def __init__(
        self, broker: Broker, submission: Submission, producer: Producer, *, body_limit: int, request_deadline: float
    ) -> None:
        self._submission = submission
        self._reader = ScheduleReader(submission)
        self._schedules = Schedules(broker, submission, producer=producer)
        self._triggers = Triggers(self._schedules, producer)
        self._body_limit = body_limit
        self._request_deadline = request_deadline

    async def preview(self, request: Request, caller: Principal) -> Response:
        """Answer with the next ticks of a schedule, and warnings."""
        text, now_ms = await self._read(request), _now_ms()
        schedule = self._reader.preview(text, now_ms)
        if schedule.job is not None:
            require(caller, "submit", self._submission.queue_of(schedule.job)[0])
        return reply(preview(schedule, now_ms))

    async def put(self, request: Request, caller: Principal) -> Response:
        """Make or replace a schedule, and answer with it."""
        name: str = request.path_params["name"]
        check_name(name)
        app, condition = _app(request, PUT), precondition(request)
        schedule = self._reader.schedule(await self._read(request), _now_ms())
        queue, warning = self._submission.queue_of(schedule.job)
        require(caller, "submit", queue)
        put = await self._schedules.put(
            name,
            schedule,
            self._deadline(),
            app=app,
            guard=partial(require, caller, "submit"),
            owner=_owner(name, app),
            condition=condition,
        )
        if put.changed:
            _log.info("schedule_put", schedule=name, new=put.is_new, by=caller.name)
        answer = shown(put.kept)
        answer.warnings = clock_warnings(Ticks(put.kept.spec, put.kept.stored.anchor_ms), _now_ms())
        answer.warnings += [warning] if warning else []
        return _reply(put.kept, answer, 201 if put.is_new else 200)

    async def show(self, request: Request, caller: Principal) -> Response:
        """Answer with a schedule and its last runs."""
        kept = await self._schedules.find(request.path_params["name"], self._deadline())
        _guard(request, caller, "read")(kept.queue)
        return _reply(kept, shown(kept, with_runs=True))

    async def list(self, request: Request, caller: Principal) -> Response:
        """Answer with a page of the schedules whose queues the caller may read."""
        with parameters_of(request, *(parameter.name for parameter in LIST.query)) as given:
            wanted = Wanted(given.name("queue"))
            limit = given.whole_number("limit", least=1, most=MAX_PAGE, default=DEFAULT_PAGE)
            cursor = given.text("cursor")
        page = await list_schedules(
            self._schedules, wanted, lambda queue: caller.allows("read", queue), limit, cursor, self._deadline()
        )
        headers = {}
        if page.next is not None:
            query = {**request.query_params, "cursor": page.next}
            headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
        return reply(page, headers=headers)

    async def delete(self, request: Request, caller: Principal) -> Response:
        """Delete a schedule."""
        name = request.path_params["name"]
        owner, condition = _owner(name, _app(request, DELETE)), precondition(request)
        guard = _guard(request, caller, "submit")
        await self._schedules.delete(name, self._deadline(), guard, condition, owner)
        _log.info("schedule_deleted", schedule=name, by=caller.name)
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    async def pause(self, request: Request, caller: Principal) -> Response:
        """Pause a schedule, and answer with it."""
        name = request.path_params["name"]
        reason = (await PAUSE_BODY.read(request, self._body_limit)).reason
        guard = _guard(request, caller, "submit")
        kept = await self._schedules.pause(name, Pause(reason, caller.name), self._deadline(), guard)
        _log.info("schedule_paused", schedule=name, reason=reason, by=caller.name)
        return _reply(kept, shown(kept))

    async def resume(self, request: Request, caller: Principal) -> Response:
        """Resume a schedule, and answer with it."""
        name = request.path_params["name"]
        kept = await self._schedules.resume(name, self._deadline(), _guard(request, caller, "submit"))
        _log.info("schedule_resumed", schedule=name, by=caller.name)
        return _reply(kept, shown(kept))

    async def trigger(self, request: Request, caller: Principal) -> Response:
        """Make a job of a schedule now."""
        name = request.path_params["name"]
        given = read_headers(request.scope["headers"]).get(b"idempotency-key")
        key = None
        if given is not None:
            idempotency.check_key(given)
            key = f"{caller.name} {given.decode('ascii')}"
        guard = _guard(request, caller, "submit")
        done = await self._triggers.trigger(name, self._deadline(), key=key, guard=guard)
        _log.info("schedule_triggered", schedule=name, outcome=done.reply.outcome, by=caller.name)
        return reply(done.reply, headers={_REPLAYED.name: "true"} if done.again else None)

    async def backfill(self, request: Request, caller: Principal) -> Response:
        """Make the jobs of a schedule's ticks in the past."""
        name = request.path_params["name"]
        wanted = await _BACKFILL.read(request, self._body_limit)
        guard = _guard(request, caller, "submit")
        done = await self._triggers.backfill(name, wanted, self._deadline(), guard)
        if not wanted.dry_run:
            _log.info("schedule_backfilled", schedule=name, fired=done.fired, by=caller.name)
        return reply(done)

    async def _read(self, request: Request) -> bytes:
        headers = read_headers(request.scope["headers"])
        media_type(headers, JSON)
        return await read_body(headers, request.receive, self._body_limit)

    def _deadline(self) -> Deadline:
        return Deadline(self._request_deadline)


def _guard(request: Request, caller: Principal, scope: str) -> Callable[[str], None]:
    """Return a function that raises NotFound unless the caller has the scope over a queue."""

    def check(queue: str) -> None:
        if not caller.allows(scope, queue):
            raise unknown_schedule(request.path_params["name"])

    return check


def _app(request: Request, operation: Operation) -> str:
    """Return the App for which a caller changes a schedule, '' = for none."""
    with parameters_of(request, *(parameter.name for parameter in operation.query)) as given:
        app = given.name(_APP.name)
    return app or ""


def _owner(name: str, app: str) -> Callable[[str], None]:
    """Return a function that raises PreconditionFailed if the caller acts for an App that does not declare it."""

    def check(owner: str) -> None:
        if app and owner != app:
            whose = f"is that of the App {owner}" if owner else "was put by hand"
            raise PreconditionFailed(f"The schedule {name} {whose}, and the App {app} leaves it as it is.")

    return check


def _reply(kept: Kept, answer: Schedule, status: int = 200) -> Response:
    return reply(answer, status, {"ETag": f'"{kept.stored.mark}"'})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

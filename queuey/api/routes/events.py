"""GET /v1/events and GET /v1/jobs/{id}/events: the events of jobs, as Server-Sent Events."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from queuey import log
from queuey.api.http.operations import Media, Operation, Parameter, QueueName
from queuey.api.http.query import Parameters, parameters_of
from queuey.api.http.waiting import until_disconnected
from queuey.errors import Full, QueueyError
from queuey.protocol.credentials import Principal
from queuey.protocol.models import FINAL, STATUSES, Job, Progress, ProgressEvent, ServerSentEvent, Status, StatusEvent
from queuey.protocol.records import from_ms
from queuey.services.events.publisher import JobEvent
from queuey.services.events.subscribers import EventSubscriber, EventSubscribers, NumberedEvent, position
from queuey.services.jobs import actions as jobs
from queuey.services.jobs.waiters import Waiters
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

PING_SECONDS: Final = 15.0
MAX_SECONDS: Final = 86_400
PING: Final = b": ping\n\n"
RESET: Final = b"event: reset\ndata: {}\n\n"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MEDIA_TYPE: Final = "text/event-stream"

_log = log.get(__name__)
_encode = msgspec.json.Encoder().encode

_SECONDS: Final = Parameter(
    "seconds", Annotated[int, Meta(ge=0, le=MAX_SECONDS)], "End the stream after this many seconds", example=10
)

EVENTS: Final = Operation(
    "follow_events",
    "Follow the events of all jobs",
    {
        200: Media(
            MEDIA_TYPE, "Events `status` and `progress`; `reset` where events before it are missing", ServerSentEvent
        )
    },
    description="Server-Sent Events of the queues that the key may read. The stream has no end.",
    query=(
        Parameter("queue", QueueName, "Only events of jobs in this queue", example="mail"),
        Parameter("type", QueueName, "Only events of jobs of this type", example="text.reverse"),
        Parameter("status", Status, "Only changes to this status, without progress", example="dead_letter"),
        _SECONDS,
    ),
    headers=(
        Parameter("Last-Event-ID", str, "Start after this event; `reset` comes first when it is no longer known"),
    ),
    errors=(Full,),
    group="Events",
)
JOB_EVENTS: Final = Operation(
    "follow_job",
    "Follow the events of one job until it has finished",
    {200: Media(MEDIA_TYPE, "Events `status`, the first with the current status, and `progress`", ServerSentEvent)},
    description="Server-Sent Events. The stream ends after the final status.",
    query=(_SECONDS,),
    errors=(Full,),
    group="Events",
)


class EventRoutes:
    """Answers the routes of events. `request_deadline`: the seconds for each call to the store."""

    def __init__(self, broker: Broker, waiters: Waiters, followers: EventSubscribers, request_deadline: float) -> None:
        self._broker = broker
        self._waiters = waiters
        self._followers = followers
        self._request_deadline = request_deadline

    async def of_all(self, request: Request, caller: Principal) -> Response:
        """Stream the events of the queues that the caller may read."""
        with parameters_of(request, "queue", "type", "status", "seconds") as given:
            queue, type = given.name("queue"), given.name("type")
            status = given.one_of("status", STATUSES)
            seconds = _seconds(given)

        def wants(event: JobEvent) -> bool:
            return (
                (queue is None or event.queue == queue)
                and (type is None or event.type == type)
                and (status is None or event.status == status)
                and caller.allows("read", event.queue)
            )

        if request.method == "HEAD":
            return Response(headers=HEADERS, media_type=MEDIA_TYPE)
        follower = await self._followers.subscribe(wants, request.headers.get("last-event-id"))
        return Streamed(_all(follower, seconds), lambda: self._followers.leave(follower))

    async def of_job(self, request: Request, caller: Principal) -> Response:
        """Stream the status of a job, its changes and its progress until it has finished."""
        job_id = request.path_params["id"]
        with parameters_of(request, "seconds") as given:
            seconds = _seconds(given)
        await self._find(job_id, caller)
        if request.method == "HEAD":
            return Response(headers=HEADERS, media_type=MEDIA_TYPE)
        self._waiters.check_room()
        follower = await self._followers.subscribe(lambda event: True, job_id=job_id)
        return Streamed(self._one(job_id, caller, follower, seconds), lambda: self._followers.leave(follower))

    async def _find(self, job_id: str, caller: Principal) -> Job:
        job = await jobs.find(self._broker, job_id, Deadline(self._request_deadline))
        if not caller.allows("read", job.queue):
            raise jobs.unknown_job(job_id)
        return job

    async def _one(
        self, job_id: str, caller: Principal, follower: EventSubscriber, seconds: float
    ) -> AsyncIterator[bytes]:
        """Yield the events of a job. It also waits for its end as `?wait=` does, since an event may be missing."""
        ended = asyncio.create_task(self._waiters.wait(job_id, min(seconds, MAX_SECONDS)))
        ended.add_done_callback(lambda _: follower.wake())
        try:
            job = await self._find(job_id, caller)
            yield _job_status(job)
            if job.progress is not None:
                yield _job_progress(job, job.progress)
            while job.status not in FINAL:
                events = await follower.next(PING_SECONDS)
                for event_id, event in events:
                    if event.kind != "reset" and event.status not in FINAL:
                        yield _message((event_id, event))
                if ended.done() or any(event.kind == "reset" or event.status in FINAL for _, event in events):
                    job = await self._find(job_id, caller)
                    yield _job_status(job)
                if ended.done() or follower.over:
                    return
                if not events:
                    yield PING
        except QueueyError as error:  # the store is unavailable or the job is deleted: the client asks again
            _log.debug("job_events_ended", job_id=job_id, error=error.message)
        finally:
            ended.cancel()
            await asyncio.wait({ended})


async def _all(follower: EventSubscriber, seconds: float) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    yield PING
    is_last = False
    while not is_last:
        is_last = follower.over  # no events come after those that wait now
        events = await follower.next(min(PING_SECONDS, ends - loop.time()))
        for event in events:
            yield _message(event)
        is_last = is_last or loop.time() >= ends
        if not events:
            yield PING


class Streamed(StreamingResponse):
    """A stream that lasts until the client disconnects or it ends. In both cases `on_end` is called."""

    def __init__(self, chunks: AsyncIterator[bytes], on_end: Callable[[], None]) -> None:
        super().__init__(chunks, headers=HEADERS, media_type=MEDIA_TYPE)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        disconnected = asyncio.create_task(until_disconnected(receive))
        writing = asyncio.create_task(self._write(send))
        try:
            await asyncio.wait({disconnected, writing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (disconnected, writing):
                task.cancel()
            await asyncio.wait({disconnected, writing})
            self._on_end()
        if not writing.cancelled() and (error := writing.exception()) is not None:
            raise error

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        chunks = self.body_iterator
        assert isinstance(chunks, AsyncGenerator)
        async with aclosing(chunks):
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _seconds(parameters: Parameters) -> float:
    """Return the maximum seconds of the stream. Without the parameter it has no end."""
    if parameters.raw("seconds") is None:
        return math.inf
    return parameters.whole_number("seconds", least=0, most=MAX_SECONDS, default=0)


def _message(numbered: NumberedEvent) -> bytes:
    event_id, event = numbered
    if event.kind == "reset":
        return RESET
    at = from_ms(position(event_id)[0])
    if event.kind == "status" and event.status is not None:
        return _status(StatusEvent(event.job_id, event.type, event.queue, event.status, event.attempt, at), event_id)
    report = event.progress
    if report is None:
        return RESET  # no version of Queuey writes such an event
    return _text("progress", ProgressEvent(event.job_id, report.done, report.total, report.note, at), event_id)


def _job_status(job: Job) -> bytes:
    return _status(StatusEvent(job.id, job.type, job.queue, job.status, job.attempt, datetime.now(UTC)))


def _job_progress(job: Job, progress: Progress) -> bytes:
    event = ProgressEvent(job.id, progress.done, progress.total, progress.note, progress.at)
    return _text("progress", event)


def _status(event: StatusEvent, event_id: str = "") -> bytes:
    return _text("status", event, event_id)


def _text(name: str, data: StatusEvent | ProgressEvent, event_id: str = "") -> bytes:
    first = f"id: {event_id}\n" if event_id else ""
    return f"{first}event: {name}\ndata: ".encode() + _encode(data) + b"\n\n"

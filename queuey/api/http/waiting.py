"""Answers that wait until a job has finished: `?wait=` and the header `Prefer: wait=`."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Annotated, Final

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from queuey.api.http.auth import require
from queuey.api.http.body import ClientDisconnected, Headers
from queuey.api.http.endpoints import reply
from queuey.api.http.operations import Parameter
from queuey.api.http.query import invalid_parameter, parameters_of
from queuey.errors import Forbidden, Full, OutcomeUnknown, StoreUnavailable
from queuey.protocol.allowed import in_words
from queuey.protocol.credentials import Principal
from queuey.protocol.models import FINAL, EnqueueReply, Job
from queuey.services.jobs import actions as jobs
from queuey.services.jobs.waiters import Waiters
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

MAX_WAIT: Final = 60
_NUMBER = re.compile(r"\d{1,5}(\.\d{1,6})?", re.ASCII)
_PREFERENCE = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([^\",;]*)\"?", re.IGNORECASE)

_Wait = Annotated[float, Meta(ge=0, le=MAX_WAIT)]
WAIT: Final = Parameter("wait", _Wait, "Seconds for which the answer waits until the job has finished", example=0)
PREFER: Final = Parameter("Prefer", str, "`wait=30` does the same as the parameter `wait`", example="wait=0")
APPLIED: Final = Parameter("Preference-Applied", str, "The preference that was followed")


class Wait:
    """The time in seconds for which an answer may wait.

    `applied`: the value of the header Preference-Applied; '' when the request did not use Prefer.
    """

    __slots__ = ("applied", "seconds")

    def __init__(self, seconds: float, applied: str = "") -> None:
        self.seconds = seconds
        self.applied = applied

    @property
    def headers(self) -> dict[str, str]:
        return {"Preference-Applied": self.applied} if self.applied else {}


def wanted_wait(scope: Scope, headers: Headers) -> Wait | None:
    """Return the wait that a request asks for, or None. The parameter overrides the header. Raises Invalid."""
    with parameters_of(Request(scope), WAIT.name) as parameters:
        given = parameters.raw("wait")
        if given is not None:
            return Wait(_seconds(given, "wait"))
        preferred = headers.get(b"prefer")
        found = _PREFERENCE.search(preferred.decode("latin-1")) if preferred else None
        text = "" if found is None else found[1].strip()
        return None if found is None else Wait(_seconds(text, "Prefer: wait"), f"wait={text}")


def _seconds(text: str, name: str) -> float:
    if not _NUMBER.fullmatch(text) or float(text) > MAX_WAIT:
        raise invalid_parameter(name, f"must be {in_words(_Wait, 'seconds')}")
    return float(text)


class Awaited:
    """Answers to requests that enqueue a job and wait. `request_deadline`: the seconds for each call to the store."""

    def __init__(self, broker: Broker, waiters: Waiters, request_deadline: float) -> None:
        self._broker = broker
        self._waiters = waiters
        self._request_deadline = request_deadline

    def wanted(self, scope: Scope, headers: Headers, caller: Principal, queue: str) -> Wait | None:
        """Return the wait that a request to enqueue a job into this queue asks for, or None.

        Raises Invalid; Forbidden if the caller may not read the job; and Full if too many requests wait already. The
        job is not enqueued then.
        """
        wait = wanted_wait(scope, headers)
        if wait is not None:
            require(caller, "read", queue)
            if wait.seconds:
                self._waiters.check_room()
        return wait

    async def reply(self, enqueued: EnqueueReply, wait: Wait, caller: Principal, receive: Receive) -> Response:
        """Return the whole job when it has finished or the wait is over.

        Raises Forbidden when another job holds the dedupe key, in a queue that the caller may not read; OutcomeUnknown
        when the job was enqueued but cannot be read; and ClientDisconnected.
        """
        job_id = enqueued.job_id
        ended = enqueued.deduplicated and (await self._read(job_id, caller)).status in FINAL
        if wait.seconds and not ended:
            with suppress(Full):  # too many requests wait by now: answer without a wait
                await wait_for_end(self._waiters, job_id, wait.seconds, receive)
        job = await self._read(job_id, caller)
        job.warnings = enqueued.warnings
        return reply(job, headers=wait.headers | {"Location": f"/v1/jobs/{job.id}"})

    async def _read(self, job_id: str, caller: Principal) -> Job:
        try:
            job = await jobs.find(self._broker, job_id, Deadline(self._request_deadline))
        except StoreUnavailable as error:
            raise OutcomeUnknown(error.message, [job_id]) from error
        if not caller.allows("read", job.queue):
            raise Forbidden("The API key lacks the scope read over the queue of the job that holds this dedupe key.")
        return job


async def wait_for_end(waiters: Waiters, job_id: str, seconds: float, receive: Receive) -> None:
    """Return when the job has finished, or after this many seconds. Call it after reading the request's body.

    Raises ClientDisconnected when the client has disconnected, and Full when too many requests wait.
    """
    disconnected = asyncio.create_task(until_disconnected(receive))
    waiting = asyncio.create_task(waiters.wait(job_id, seconds))
    try:
        await asyncio.wait({disconnected, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientDisconnected
        await waiting
    finally:
        for task in (disconnected, waiting):
            task.cancel()
        await asyncio.wait({disconnected, waiting})


async def until_disconnected(receive: Receive) -> None:
    """Return when the client has closed the connection. Call it after reading the request's body."""
    while (await receive())["type"] != "http.disconnect":
        pass

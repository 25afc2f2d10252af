"""The schedules of a handler, as an App declares them, and their checks when the App is loaded."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from queuey.errors import Fault, RequestError, StartupError
from queuey.protocol.job_requests import JobOptions, schedule_json
from queuey.protocol.json import strict
from queuey.protocol.json.codecs import Codec, seal_json
from queuey.protocol.json.payload_faults import faults_of
from queuey.protocol.models import YEAR, JobRequest, Priority, ScheduleRequest
from queuey.protocol.models.schedules import SCHEDULE_PATTERN, SCHEDULE_RULE, CatchUp, Overlap

if TYPE_CHECKING:
    from queuey.services.schedules.reading import ScheduleReader

MAX_SCHEDULES: Final = 100
"""The maximum number of schedules of a handler."""
_LARGEST: Final = 10**9
"""The limits of a server are its own. It checks the size and the depth of a payload when it puts the schedule."""


class Schedule(Struct, frozen=True, kw_only=True):
    """A schedule that enqueues jobs for a handler: `@app.job("report", schedules=[Schedule(cron="0 3 * * *")])`.

    It has either `cron` or `every`, in seconds. `name` is the type of the handler unless another one is given.
    `payload` is that of its jobs; without it, it is null, or {} if the payload fills several parameters. `queue` is
    that of the handler unless another one is given. The other fields are explained in docs/schedules.md.
    """

    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    name: str | None = None
    payload: Any = UNSET
    queue: str | None = None
    priority: Priority = "default"
    expires_in: float | None = None
    tags: Sequence[str] | None = None
    metadata: Mapping[str, str] | None = None
    overlap: Overlap = "skip"
    catch_up: CatchUp = "last"
    catch_up_window: float = 3600
    jitter: float = 0
    exclude: Sequence[date | str] = ()


class Declared(Struct, frozen=True):
    """A schedule that has been checked. The payload of its job is not sealed by a codec."""

    name: str
    request: ScheduleRequest

    def sealed(self, codec: Codec | None) -> ScheduleRequest:
        """Return the schedule with the payload as the codec of its App seals it."""
        if codec is None:
            return self.request
        job = msgspec.structs.replace(self.request.job, payload=seal_json(codec, bytes(self.request.job.payload)))
        return msgspec.structs.replace(self.request, job=job)


def given_schedules(
    cron: str | None, every: float | None, timezone: str | None, schedules: Sequence[Schedule]
) -> Sequence[Schedule]:
    """Return the schedules that the arguments of `App.job` stand for. Raises StartupError."""
    if isinstance(schedules, Schedule) or not isinstance(schedules, Sequence):
        raise StartupError(f"schedules={schedules!r}: it is a list, as in schedules=[Schedule(...)]")
    for each in schedules:
        if not isinstance(each, Schedule):
            raise StartupError(f"schedules has {each!r}: make each of them with Schedule(...)")
    if len(schedules) > MAX_SCHEDULES:
        raise StartupError(f"it has {len(schedules)} schedules: a handler has at most {MAX_SCHEDULES}")
    if cron is None and every is None:
        if timezone is not None:
            raise StartupError("timezone is that of a cron expression: give cron too, or leave timezone out")
        return schedules
    if schedules:
        raise StartupError("cron and every are the only schedule of a handler: move them into a Schedule of schedules")
    return [Schedule(cron=cron, every=every, timezone="UTC" if timezone is None else timezone)]


def declared(
    type: str,
    schedules: Sequence[Schedule],
    options: JobOptions,
    fields: Sequence[Parameter],
    check: Callable[[Raw], Any],
) -> tuple[Declared, ...]:
    """Return the schedules of a handler. Raises StartupError, which says what to change.

    `options`: those of its jobs. `fields`: the parameters that the payload fills. `check` decodes a payload.
    """
    return tuple(_declared(type, each, options, fields, check) for each in schedules)


def _declared(
    type: str, schedule: Schedule, options: JobOptions, fields: Sequence[Parameter], check: Callable[[Raw], Any]
) -> Declared:
    name: Any = type if schedule.name is None else schedule.name
    if not isinstance(name, str) or re.match(SCHEDULE_PATTERN, name) is None:
        raise StartupError(f"{name!r:.200} is not a valid name of a schedule: it must be {SCHEDULE_RULE}")
    try:
        request = _request(type, schedule, options, {} if len(fields) > 1 else None)
        return Declared(name, _checked(request, check))
    except _Fault as error:
        raise StartupError(f"its schedule {name!r}: {error}") from None


class _Fault(Exception):
    """What is wrong with a schedule."""


def _request(type: str, schedule: Schedule, options: JobOptions, no_payload: object) -> ScheduleRequest:
    if (schedule.cron is None) == (schedule.every is None):
        raise _Fault("give it either cron or every")
    payload = no_payload if isinstance(schedule.payload, UnsetType) else schedule.payload
    try:
        job = JobRequest(type, Raw(strict.encode(payload, "payload")), **options)
        job.queue, job.priority = schedule.queue or job.queue, schedule.priority
        job.expires_in, job.tags, job.metadata = schedule.expires_in, schedule.tags, schedule.metadata
        request = ScheduleRequest(
            cron=schedule.cron,
            every=schedule.every,
            timezone=schedule.timezone,
            job=job,
            overlap=schedule.overlap,
            catch_up=schedule.catch_up,
            catch_up_window=schedule.catch_up_window,
            jitter=schedule.jitter,
            exclude=list(schedule.exclude),  # type: ignore[arg-type]  # texts are read as dates below
        )
        text = schedule_json(request)
        read = _reader().preview(text, time.time_ns() // 1_000_000)
    except RequestError as error:
        raise _Fault(_said(error)) from None
    except (TypeError, ValueError) as error:
        raise _Fault(str(error)) from None
    assert read.job is not None
    return msgspec.structs.replace(request, exclude=read.exclude)


def _checked(request: ScheduleRequest, check: Callable[[Raw], Any]) -> ScheduleRequest:
    """Check that the payload fits the handler."""
    try:
        check(request.job.payload)
    except msgspec.ValidationError as error:
        faults = "; ".join(
            f"{fault.reason}{f' at {fault.pointer}' if fault.pointer else ''}" for fault in faults_of(error)
        )
        raise _Fault(f"its payload does not fit the handler: {faults}. Give payload=... in a Schedule") from None
    except Exception as error:
        raise _Fault(f"its payload cannot be read: {error!r}") from None
    return request


def _said(error: RequestError) -> str:
    """Return all faults of a schedule, in the names that Schedule has for its fields."""
    faults = [fault for fault in error.faults if isinstance(fault, Fault)]
    if len(faults) < 2:
        return error.message.removeprefix("job/")
    return "; ".join(f"{fault.pointer.removeprefix('/job').lstrip('/')} {fault.detail}" for fault in faults)


def _reader() -> ScheduleReader:
    """Return the reader of a server, without limits of its own. It is imported for Apps with schedules only."""
    from queuey.services.jobs.submission import Submission, SubmissionSettings
    from queuey.services.schedules.reading import ScheduleReader

    settings = SubmissionSettings(
        check_payloads="no",
        json_depth=_LARGEST,
        payload_limit=_LARGEST,
        max_attempts=1,
        max_delay=YEAR,
        retention=0,
        dedupe_ttl=0,
    )
    return ScheduleReader(Submission(settings, lambda _: None))

"""Reading schedules from requests, with all that is wrong with them; and their preview."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from queuey.errors import Fault, Invalid, Malformed, RequestError
from queuey.protocol.allowed import SOON, form_of
from queuey.protocol.json.checks import check_text, decode_body
from queuey.protocol.models import JobRequest, PreviewRequest, SchedulePreview, ScheduleRequest
from queuey.protocol.models.schedules import MAX_CRON, MAX_EXCLUDED, SCHEDULE_PATTERN
from queuey.protocol.schema_faults import JOB, Check, failures, invalid, together
from queuey.services.jobs.submission import Submission
from queuey.services.schedules.cron import Cron
from queuey.services.schedules.ticks import HORIZON_MS, HORIZON_YEARS, Ticks, timing
from queuey.services.schedules.warnings import clock_warnings
from queuey.services.schedules.zones import Zone

PREVIEWED: Final = 5
"""The number of ticks in a preview."""
_REFUSED: Final = {
    "id": "is made for each tick; leave it out",
    "dedupe_key": "is not for the job of a schedule, which fires each tick once; `overlap` keeps two of its jobs apart",
    "dedupe_ttl": "is not for the job of a schedule, which has no dedupe_key; leave it out",
    **dict.fromkeys(
        ("unique", "debounce", "throttle"),
        "is not for the job of a schedule, which is fired once a tick; `overlap` keeps two of its jobs apart",
    ),
    "batch": "is not for the job of a schedule, which is one job for each tick; enqueue items from its handler",
    "delay": "is not for the job of a schedule, which is enqueued at the tick; change `cron`, `every` or `at`",
    "run_at": "is not for the job of a schedule, which is enqueued at the tick; change `cron`, `every` or `at`",
}
"""The fields of a job that the job of a schedule cannot have, and why."""
_WORDS: Final = {
    "/cron": f"a cron expression of 1 to {MAX_CRON} characters, such as 0 3 * * *",
    "/at": f"a date, a time with seconds, and a time zone, such as {SOON}",
    "/timezone": "the name of a time zone, such as Europe/Berlin",
    "/job": "an object with the fields of POST /v1/jobs",
    "/exclude": f"an array of at most {MAX_EXCLUDED} dates",
    "/exclude/*": "a date such as 2026-12-25",
    **{f"/job{pointer}": words for pointer, words in JOB.allowed.items() if pointer},
}
_PREVIEW: Final = form_of(PreviewRequest, "The schedule", _WORDS)
_SCHEDULE: Final = form_of(ScheduleRequest, "The schedule", _WORDS)
_previews: Final = msgspec.json.Decoder(PreviewRequest)
_NAME: Final = re.compile(SCHEDULE_PATTERN)
_schedules: Final = msgspec.json.Decoder(ScheduleRequest)


class ScheduleReader:
    """Reads schedules. `submission` checks their jobs."""

    def __init__(self, submission: Submission) -> None:
        self._submission = submission

    def preview(self, text: bytes, now_ms: int) -> PreviewRequest:
        """Read the schedule of a preview. Raises Malformed, TooLarge, or Invalid, which names every fault."""
        self._check_text(text)
        return decode_body(_previews, text, _PREVIEW, *self._checks(now_ms), _fires(now_ms))

    def schedule(self, text: bytes, now_ms: int) -> ScheduleRequest:
        """Read a schedule to put. Raises the same, but not because it never fires: `check_fires` checks that.

        A schedule that is stored already may have come to its end.
        """
        self._check_text(text)
        checks = self._checks(now_ms)
        try:
            return decode_body(_schedules, text, _SCHEDULE, *checks)
        except Invalid:
            return decode_body(_schedules, text, _SCHEDULE, *checks, _fires(now_ms))  # raises it with every fault

    def check(self, schedule: ScheduleRequest, now_ms: int) -> None:
        """Check a schedule that was not read from a request. Raises the same as `schedule`."""
        if faults := failures(*(partial(check.run, schedule) for check in self._checks(now_ms))):
            raise faults[0] if not isinstance(faults[0], Invalid) else together(faults)

    def check_job(self, request: PreviewRequest, now_ms: int) -> None:
        """Check the job of a schedule as POST /v1/jobs does. Raises Malformed, TooLarge or Invalid.

        The errors have pointers into the schedule.
        """
        if request.job is None:
            return
        try:
            self._check_job(request.job, now_ms)
        except RequestError as error:
            raise _inside("/job", error) from None

    def _check_job(self, job: JobRequest, now_ms: int) -> None:
        checks = (_check_given, *(check.run for check in self._submission.checks(now_ms)))
        self._submission.check_size(bytes(job.payload))
        if faults := failures(*(partial(check, job) for check in checks)):
            raise faults[0] if not faults[0].faults else together(faults)

    def _check_text(self, text: bytes) -> None:
        if not text or text.isspace():
            raise Malformed("The body is empty. Send a schedule as a JSON object.")
        check_text(text, self._submission.limits.depth, around=2)

    def _checks(self, now_ms: int) -> tuple[Check, ...]:
        return (
            Check(timing, ("cron", "every", "at")),
            Check(lambda request: Zone(request.timezone), ("timezone",)),
            Check(lambda request: request.cron is None or Cron(request.cron), ("cron",)),
            Check(partial(self.check_job, now_ms=now_ms), ("job",)),
        )


def is_name(text: str) -> bool:
    """Return whether a schedule may have this name."""
    return _NAME.match(text) is not None


def preview(request: PreviewRequest, now_ms: int) -> SchedulePreview:
    """Return the next ticks of a schedule that is made now, and the warnings about its clock."""
    ticks = Ticks(request, now_ms)
    following = ticks.between(now_ms, now_ms + HORIZON_MS, PREVIEWED)
    return SchedulePreview(
        [datetime.fromtimestamp(tick / 1000, UTC) for tick in following], clock_warnings(ticks, now_ms)
    )


def _fires(now_ms: int) -> Check:
    fields = ("cron", "every", "at", "timezone", "exclude")
    return Check(lambda request: check_fires(request, Ticks(request, now_ms).after(now_ms)), fields)


def check_fires(request: PreviewRequest, next_ms: int | None) -> None:
    """Check that a schedule has a next tick. Raises Invalid."""
    if next_ms is None:
        verb, where = "be" if request.at else "fire", ", on a day that is not excluded" if request.exclude else ""
        raise invalid(f"/{timing(request)}", f"must {verb} within the next {HORIZON_YEARS} years{where}")


def _check_given(job: JobRequest) -> None:
    faults = [Fault(f"/{name}", detail) for name, detail in _REFUSED.items() if getattr(job, name) is not None]
    if faults:
        raise Invalid(f"{faults[0].pointer[1:]} {faults[0].detail}.", faults)


def _inside(pointer: str, error: RequestError) -> RequestError:
    """Return the error of a part of the body with pointers into the whole body."""
    faults = [Fault(pointer + fault.pointer, fault.detail) for fault in error.faults if isinstance(fault, Fault)]
    message = f"{faults[0].pointer[1:]} {faults[0].detail}." if faults else error.message
    return type(error)(message, faults)

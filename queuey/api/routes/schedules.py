"""The routes of schedules."""

from __future__ import annotations

import time
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from queuey.api.http.auth import require
from queuey.api.http.body import JSON, media_type, read_body, read_headers
from queuey.api.http.endpoints import reply
from queuey.api.http.operations import Operation
from queuey.protocol.credentials import Principal
from queuey.protocol.models import PreviewRequest, SchedulePreview
from queuey.services.jobs.submission import Submission
from queuey.services.schedules.reading import ScheduleReader, preview

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


class ScheduleRoutes:
    """Answers the routes under /v1/schedules. `body_limit`: in bytes."""

    def __init__(self, submission: Submission, body_limit: int) -> None:
        self._submission = submission
        self._reader = ScheduleReader(submission)
        self._body_limit = body_limit

    async def preview(self, request: Request, caller: Principal) -> Response:
        """Answer with the next ticks of a schedule, and warnings."""
        headers = read_headers(request.scope["headers"])
        media_type(headers, JSON)
        text = await read_body(headers, request.receive, self._body_limit)
        now_ms = time.time_ns() // 1_000_000
        schedule = self._reader.preview(text, now_ms)
        if schedule.job is not None:
            require(caller, "submit", self._submission.queue_of(schedule.job)[0])
        return reply(preview(schedule, now_ms))

"""Calls about schedules."""

from __future__ import annotations

from msgspec import Raw

from queuey.client.transport import Http
from queuey.protocol.job_requests import schedule_json
from queuey.protocol.models import PreviewRequest, SchedulePreview


class ScheduleCalls:
    """The calls of Client about schedules. All of them raise ClientError."""

    _http: Http

    async def preview_schedule(self, schedule: PreviewRequest) -> SchedulePreview:
        """Return when a schedule would fire next, and warnings. Nothing is stored. Raises Invalid."""
        body = Raw(schedule_json(schedule))
        return await self._http.call("POST", "/v1/schedules/preview", SchedulePreview, body=body)

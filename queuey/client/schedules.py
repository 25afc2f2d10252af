"""Calls about schedules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import quote

from msgspec import Raw

from queuey.client.transport import Http
from queuey.protocol import ids
from queuey.protocol.idempotency import HEADER
from queuey.protocol.job_requests import schedule_json
from queuey.protocol.models import (
    BackfillReply,
    PreviewRequest,
    Schedule,
    SchedulePage,
    SchedulePreview,
    ScheduleRequest,
    TriggerReply,
)

PAGE: Final = 100
BACKFILL_SECONDS: Final = 5.0
"""The seconds that the server may take to make the jobs of a backfill."""


class ScheduleCalls:
    """The calls of Client about schedules. All of them raise ClientError."""

    _http: Http

    async def put_schedule(
        self, name: str, schedule: ScheduleRequest, *, only_new: bool = False, app: str | None = None
    ) -> Schedule:
        """Make a schedule, or replace the one of this name. The same schedule again changes nothing.

        `only_new`: raise Conflict if another one has the name. `app`: the App that declares it; then raise Conflict if
        it belongs to another one, or was put without. Raises Invalid.
        """
        headers = {"if-none-match": "*"} if only_new else {}
        body = Raw(schedule_json(schedule))
        return await self._http.call("PUT", _path(name), Schedule, query={"app": app}, body=body, headers=headers)

    async def schedule(self, name: str) -> Schedule:
        """Return a schedule with its last runs. Raises NotFound."""
        return await self._http.call("GET", _path(name), Schedule)

    async def schedules(self, *, queue: str | None = None) -> AsyncIterator[Schedule]:
        """Yield the schedules that the key may read, or those of this queue only. Pages are fetched as needed."""
        query: dict[str, str | int | float | None] = {"queue": queue, "limit": PAGE}
        while True:
            page = await self._http.call("GET", "/v1/schedules", SchedulePage, query=query)
            for schedule in page.schedules:
                yield schedule
            if page.next is None:
                return
            query["cursor"] = page.next

    async def delete_schedule(self, name: str, *, app: str | None = None) -> None:
        """Delete a schedule with its history. Its jobs stay. Raises NotFound.

        `app`: raise Conflict if another App declares it, or none.
        """
        await self._http.call("DELETE", _path(name), type(None), query={"app": app}, repeatable=False)

    async def pause_schedule(self, name: str, reason: str | None = None) -> Schedule:
        """Pause a schedule, so that it has no ticks. `reason` is shown with it."""
        body = {} if reason is None else {"reason": reason}
        return await self._http.call("POST", _path(name, "/pause"), Schedule, body=body)

    async def resume_schedule(self, name: str) -> Schedule:
        """Resume a paused schedule. Ticks during the pause are not fired later."""
        return await self._http.call("POST", _path(name, "/resume"), Schedule)

    async def trigger_schedule(self, name: str, *, key: str | None = None) -> TriggerReply:
        """Make the job of a schedule now, unless its overlap rule says otherwise.

        `key`: with the same key it makes no second job. By default each call has its own, so that it can safely be sent
        again.
        """
        headers = {HEADER: ids.new_id() if key is None else key}
        return await self._http.call("POST", _path(name, "/trigger"), TriggerReply, headers=headers)

    async def backfill_schedule(
        self,
        name: str,
        start: datetime,
        end: datetime,
        *,
        overlap: Literal["skip", "queue_one", "allow"] | None = None,
        dry_run: bool = False,
    ) -> BackfillReply:
        """Make the jobs of a schedule's ticks from `start` to `end`, both in the past, or only list the ticks.

        A tick that has its job gets none. `overlap` replaces the rule of the schedule. Raises Invalid, for example for
        more than 1,000 ticks.
        """
        body: dict[str, Any] = {"from": _aware(start, "start"), "to": _aware(end, "end"), "dry_run": dry_run}
        if overlap is not None:
            body["overlap"] = overlap
        path = _path(name, "/backfill")
        return await self._http.call("POST", path, BackfillReply, body=body, wait=BACKFILL_SECONDS)

    async def preview_schedule(self, schedule: PreviewRequest) -> SchedulePreview:
        """Return when a schedule would fire next, and warnings. Nothing is stored. Raises Invalid."""
        body = Raw(schedule_json(schedule))
        return await self._http.call("POST", "/v1/schedules/preview", SchedulePreview, body=body)


def _path(name: str, rest: str = "") -> str:
    return f"/v1/schedules/{quote(name, safe='')}{rest}"


def _aware(time: datetime, name: str) -> datetime:
    """Return the time. Raises ValueError if it has no zone."""
    if time.utcoffset() is None:
        raise ValueError(f"{name} has no time zone. Pass {name}.replace(tzinfo=UTC) or another zone.")
    return time

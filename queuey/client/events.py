"""Server-Sent Events: the changes of jobs, live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Literal
from urllib.parse import quote

import httpx
import msgspec

from queuey.client.errors import BadAnswer, ClientError, Refused
from queuey.client.transport import Http, Query
from queuey.protocol.models import FINAL, ProgressEvent, Status, StatusEvent

MAX_EVENT: Final = 1_000_000
"""The largest event in bytes. Events of a server have about a thousand."""
PAUSE: Final = 1.0


class Event(msgspec.Struct, frozen=True):
    """One event. `reset` means that events are missing, and has no `data`. `id` is where to continue, if it has one."""

    kind: Literal["status", "progress", "reset"]
    data: StatusEvent | ProgressEvent | None
    id: str | None = None


class EventCalls:
    """The calls of Client that follow jobs. They reconnect if the stream breaks."""

    _http: Http

    async def events(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,
        status: Status | None = None,
        last_event_id: str | None = None,
    ) -> AsyncIterator[Event]:
        """Yield the events of jobs with this queue, type and status, without end. They begin after `last_event_id`.

        Raises ClientError if the server cannot be reached, after the client's number of retries.
        """
        query = {"queue": queue, "type": type, "status": status}
        failed = 0
        while True:
            try:
                async for event in _stream(self._http, "/v1/events", query, last_event_id):
                    failed = 0
                    last_event_id = event.id or last_event_id
                    yield event
            except ClientError as error:
                failed = _failed_again(error, failed, self._http.retries)
            await asyncio.sleep(PAUSE)

    async def follow(self, id: str) -> AsyncIterator[Event]:
        """Yield the status of a job, then its changes and progress, until its final status. Raises NotFound."""
        path = f"/v1/jobs/{quote(id, safe='')}/events"
        failed = 0
        while True:
            try:
                async for event in _stream(self._http, path, {}, None):
                    failed = 0
                    yield event
                    if isinstance(event.data, StatusEvent) and event.data.status in FINAL:
                        return
            except ClientError as error:
                failed = _failed_again(error, failed, self._http.retries)
            await asyncio.sleep(PAUSE)


def _failed_again(error: ClientError, failed: int, retries: int) -> int:
    """Count a failure. Raises the error if another try would not help."""
    lasting = isinstance(error, BadAnswer) or (isinstance(error, Refused) and error.status not in (429, 503))
    if lasting or failed >= retries:
        raise error
    return failed + 1


async def _stream(http: Http, path: str, query: Query, last_event_id: str | None) -> AsyncIterator[Event]:
    headers = {"accept": "text/event-stream"}
    if last_event_id is not None:
        headers["last-event-id"] = last_event_id
    async with http.stream(path, query=query, headers=headers) as response:
        async for block in _blocks(response):
            event = _event(block, response)
            if event is not None:
                yield event


async def _blocks(response: httpx.Response) -> AsyncIterator[str]:
    """Yield the texts between empty lines. httpx would also split lines at characters that JSON may contain."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            yield block.decode()
        if len(rest) > MAX_EVENT:
            raise BadAnswer(f"{response.request.url} sent an event of more than {MAX_EVENT:,} bytes.", 200)


def _event(block: str, response: httpx.Response) -> Event | None:
    """Return the event, or None for a ping and for an unknown kind of event."""
    fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
    kind, text = fields.get("event"), fields.get("data", "")
    try:
        if kind == "status":
            return Event("status", msgspec.json.decode(text, type=StatusEvent), fields.get("id"))
        if kind == "progress":
            return Event("progress", msgspec.json.decode(text, type=ProgressEvent), fields.get("id"))
    except msgspec.DecodeError as error:
        raise BadAnswer(
            f"{response.request.url} sent an invalid event: {error}. Check that it is a Queuey server.", 200
        ) from None
    return Event("reset", None) if kind == "reset" else None

"""Server-Sent Events: the changes of jobs, live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, Literal
from urllib.parse import quote

import httpx
import msgspec

from queuey.client.errors import BadAnswer, ClientError
from queuey.client.sending.patience import Patience
from queuey.client.transport import Http, Query, shown_url
from queuey.protocol.models import FINAL, ProgressEvent, Status, StatusEvent

MAX_EVENT: Final = 1_000_000
"""The largest event in bytes. Events of a server have about a thousand."""
PAUSE: Final = 1.0
"""The seconds before a stream that the server has ended is opened again."""
RESTART: Final = 60.0
"""The seconds for which a stream looks for a server that it has lost: more than a restart with a drain takes."""


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

        Raises ClientError if the server cannot be reached for longer than a restart takes.
        """
        query = {"queue": queue, "type": type, "status": status}
        async with aclosing(_stream(self._http, "/v1/events", query, last_event_id)) as events:
            async for event in events:
                yield event

    async def follow(self, id: str) -> AsyncIterator[Event]:
        """Yield the status of a job, then its changes and progress, until its final status. Raises NotFound."""
        path = f"/v1/jobs/{quote(id, safe='')}/events"
        async with aclosing(_stream(self._http, path, {}, None)) as events:
            async for event in events:
                yield event
                if isinstance(event.data, StatusEvent) and event.data.status in FINAL:
                    return


async def _stream(http: Http, path: str, query: Query, last_event_id: str | None) -> AsyncGenerator[Event]:
    """Yield events without end. A stream that breaks is opened again, and continues after its last event."""
    headers = {"accept": "text/event-stream"}
    lost: Patience | None = None
    while True:
        if last_event_id is not None:
            headers["last-event-id"] = last_event_id
        try:
            async with http.stream(path, query=query, headers=headers) as response:
                async for block in _blocks(response):
                    lost = None
                    if event := _event(block, response):
                        last_event_id = event.id or last_event_id
                        yield event
        except ClientError as error:
            lost = lost or http.patience(asyncio.get_running_loop().time() + RESTART)
            if not await lost.again(error):
                raise
        else:
            await asyncio.sleep(PAUSE)


async def _blocks(response: httpx.Response) -> AsyncIterator[str]:
    """Yield the texts between empty lines. httpx would also split lines at characters that JSON may contain."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            yield _text(block, response)
        if len(rest) > MAX_EVENT:
            raise BadAnswer(f"{shown_url(response)} sent an event of more than {MAX_EVENT:,} bytes.", 200)


def _text(block: bytes, response: httpx.Response) -> str:
    try:
        return block.decode()
    except UnicodeDecodeError as error:
        raise BadAnswer(f"{shown_url(response)} sent an event that is not UTF-8: {error.reason}.", 200) from None


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
            f"{shown_url(response)} sent an invalid event: {error}. Check that it is a Queuey server.", 200
        ) from None
    return Event("reset", None) if kind == "reset" else None

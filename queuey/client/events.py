"""Server-Sent Events: what happens to jobs, as it happens."""

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
"""Bytes of one event; a server's takes a thousand or so."""
PAUSE: Final = 1.0


class Event(msgspec.Struct, frozen=True):
    """One event. `data` is None for `reset`: events before it are missing. `id`: where to go on from, if it has one."""

    kind: Literal["status", "progress", "reset"]
    data: StatusEvent | ProgressEvent | None
    id: str | None = None


class EventCalls:
    """The part of Client that follows jobs. A stream that breaks is taken up again."""

    _http: Http

    async def events(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,
        status: Status | None = None,
        last_event_id: str | None = None,
    ) -> AsyncIterator[Event]:
        """What happens to jobs of this queue and type, without an end; begins after `last_event_id`.

        Raises ClientError when the server cannot be reached any more, after the client's number of retries.
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
        """One job: its status now, what changes, and its progress, to its final status. Raises NotFound."""
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
    """Raises the error when there is no sense in another try."""
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
    """What stands between empty lines. Not by httpx's lines, which also end at characters that JSON may hold."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            yield block.decode()
        if len(rest) > MAX_EVENT:
            raise BadAnswer(f"{response.request.url} sent an event of more than {MAX_EVENT:,} bytes.", 200)


def _event(block: str, response: httpx.Response) -> Event | None:
    """None for a ping, and for a kind of event that this client does not know."""
    fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
    kind, text = fields.get("event"), fields.get("data", "")
    try:
        if kind == "status":
            return Event("status", msgspec.json.decode(text, type=StatusEvent), fields.get("id"))
        if kind == "progress":
            return Event("progress", msgspec.json.decode(text, type=ProgressEvent), fields.get("id"))
    except msgspec.DecodeError as error:
        raise BadAnswer(f"{response.request.url} sent what Queuey does not: {error}.", 200) from None
    return Event("reset", None) if kind == "reset" else None

"""The client of a server, for asyncio."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

import httpx

from queuey.client.dead import DeadCalls
from queuey.client.events import EventCalls
from queuey.client.jobs import JobCalls
from queuey.client.leases import LeaseCalls
from queuey.client.queues import QueueCalls
from queuey.client.transport import Http
from queuey.protocol.models import Metrics, ReplayReply

LOCAL_URL: Final = "http://127.0.0.1:8000"


class Client(DeadCalls, EventCalls, JobCalls, LeaseCalls, QueueCalls):
    """Talks to one server, or to several behind one address. It belongs to one event loop.

    url: of the server, with a path where a proxy puts it under one. api_key: without one, what needs none is open.
    timeout: seconds that a request may take. retries: how often one is sent again, when the server cannot answer or
    the connection fails, and only where doing it twice does no harm. transport: httpx's, for proxies and tests.
    """

    def __init__(
        self,
        url: str = LOCAL_URL,
        api_key: str | None = None,
        *,
        timeout: float = 10.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = Http(url, api_key, timeout, retries, transport)

    @property
    def url(self) -> str:
        return self._http.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections. It cannot be used any more."""
        await self._http.close()

    async def metrics(self) -> Metrics:
        """How many jobs wait, run, are done or dead, by queue."""
        return await self._http.call("GET", "/v1/queues/metrics", Metrics)

    async def replay(self, limit: int = 100) -> int:
        """Run up to so many dead jobs anew, the oldest first. Returns how many were."""
        reply = await self._http.call("POST", "/v1/replay-dlq", ReplayReply, query={"limit": limit}, repeatable=False)
        return reply.requeued

"""The client for asyncio."""

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
    """A client of one server, or of several behind one address. It belongs to one event loop.

    - url: the URL of the server, with a path if a proxy serves it under one
    - api_key: the API key, if the server needs one
    - timeout: the seconds that a request may take
    - retries: how many times a request is sent again if the server cannot answer or the connection fails; requests
      that are not safe to repeat are not sent again
    - transport: a transport of httpx, for proxies and tests
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
        """The URL of the server."""
        return self._http.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        await self._http.close()

    async def metrics(self) -> Metrics:
        """Return the number of jobs by queue and status."""
        return await self._http.call("GET", "/v1/queues/metrics", Metrics)

    async def replay(self, limit: int = 100) -> int:
        """Replay up to `limit` dead jobs, oldest first. Return the number of replayed jobs."""
        reply = await self._http.call("POST", "/v1/replay-dlq", ReplayReply, query={"limit": limit}, repeatable=False)
        return reply.requeued

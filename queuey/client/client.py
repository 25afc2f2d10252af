"""The client for asyncio."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import httpx

from queuey.client.access import AccessCalls
from queuey.client.dead import DeadCalls
from queuey.client.events import EventCalls
from queuey.client.jobs import JobCalls
from queuey.client.leases import LeaseCalls
from queuey.client.queues import QueueCalls
from queuey.client.schedules import ScheduleCalls
from queuey.client.transport import Http
from queuey.protocol.models import Metrics, ReplayReply
from queuey.protocol.server_url import KEY_VARIABLE, LOCAL_URL, URL_VARIABLE

UNCLOSED: Final = "A {} of {} was not closed. Use it in `{}`, or call its close()."
"""The warning about a client that is forgotten. Python adds where it was made if tracemalloc is on."""


class Client(AccessCalls, DeadCalls, EventCalls, JobCalls, LeaseCalls, QueueCalls, ScheduleCalls):
    """A client of one server, or of several behind one address. It belongs to one event loop.

    - url: the URL of the server, with a path if a proxy serves it under one; by default that of QUEUEY_URL, else
      http://127.0.0.1:8000
    - api_key: the API key, if the server needs one; for the default URL, by default that of QUEUEY_API_KEY
    - timeout: the seconds that a request may take
    - retry_for: the seconds, after a first failure, in which a request is sent again if the server cannot answer or the
      connection fails; requests that are not safe to repeat are not sent again; 0 sends nothing again
    - retries: a number of attempts after the first, in place of `retry_for`; deprecated
    - transport: a transport of httpx, for proxies and tests

    It may be made before a fork: the child opens connections of its own.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 10.0,
        retry_for: float = 10.0,
        retries: int | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url, api_key = _access(url, api_key)
        self._http = Http(url, api_key, timeout, retry_for, retries, transport)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        http = self.__dict__.get("_http")  # there is none if the arguments were refused
        if http is not None and http.is_open:
            _warn(UNCLOSED.format("Client", http.shown_url, "async with"), ResourceWarning, source=self)

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


def _access(url: str | None, api_key: str | None) -> tuple[str, str | None]:
    """Return the URL and the key of a client. An empty variable counts as none.

    The key of the variable is only sent to the server that QUEUEY_URL names, or to this machine if there is none.
    """
    default = os.environ.get(URL_VARIABLE) or LOCAL_URL
    if api_key is None and url in (None, default):
        api_key = os.environ.get(KEY_VARIABLE) or None
    return default if url is None else url, api_key

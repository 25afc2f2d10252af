"""Requests over HTTP, which are sent again where that is safe."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any, Final, TypeVar

import httpx
import msgspec

from queuey import forks
from queuey.client.errors import (
    UNREADABLE,
    BadAnswer,
    ClientError,
    Closed,
    Unreachable,
    read_problem,
    refusal,
)
from queuey.client.sending.connections import Connections
from queuey.client.sending.patience import Patience
from queuey.protocol import traceparent
from queuey.protocol.credentials import KEY_PATTERN, KEY_RULE, redact_urls
from queuey.protocol.json import strict
from queuey.protocol.server_url import URL_RULE, is_server_url

T = TypeVar("T")
Query = Mapping[str, str | int | float | None]

CONNECTIONS: Final = 1000
"""The most connections. Each request that waits for a job uses one."""
MAX_WAIT: Final = 60.0
"""The most seconds that one request waits."""
SILENCE: Final = 45.0
"""The seconds of silence after which a stream of events is lost: the server pings every 15 seconds."""
SHOWN: Final = 200
OTHER_LOOP: Final = (
    "This Client has connections of another event loop. Make a Client in each event loop, that is in each "
    "asyncio.run, or use a SyncClient."
)

_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_FAILURES: Final = (httpx.RequestError, httpx.InvalidURL, OSError, ValueError, OverflowError, ExceptionGroup)
"""What httpx raises for a request, also for an answer that does not match its Content-Encoding."""
_NO_SERVER: Final = (502, 503, 504)
"""The statuses of a load balancer that has no server for the request, or lost it."""

_of_parents: Final[list[httpx.AsyncClient]] = []
"""In a forked copy, the clients with the connections of its parents: at most one for each client and fork.

They are kept, since the end of a connection touches its event loop, whose selector the two processes share."""


class Http:
    """The HTTP connections to the server.

    `timeout` is the seconds that one attempt may take in total. `retry_for` is the seconds in which a call is sent
    again; `retries` replaces them with a number of attempts after the first.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        timeout: float,
        retry_for: float,
        retries: int | None,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.url = _checked(url).rstrip("/")
        self.shown_url = redact_urls(self.url)  # made now: a warning at the end of the interpreter can import nothing
        if not timeout > 0:
            raise ValueError(f"timeout must be a number of seconds above 0, not {timeout}.")
        if not 0 <= retry_for < inf:
            raise ValueError(f"retry_for must be a number of seconds from 0, not {retry_for}.")
        self._timeout = timeout
        self._retry_for = retry_for
        self._retries = retries
        self._has_answered = False
        self._closed = False
        headers = {"accept": "application/json", "user-agent": "queuey-python"}
        if api_key is not None:
            if re.fullmatch(KEY_PATTERN, api_key) is None:  # the message does not show the key
                raise ValueError(
                    f"api_key must be {KEY_RULE}. A key that is read from a file often has the end of its line: use "
                    f".strip()."
                )
            headers["x-api-key"] = api_key
        self._headers = headers
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections = Connections()
        self._traced: Final = {"trace": self._connections.trace}
        self._lost_transport = False
        forks.renew(self)

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        if self._client is not None:
            await self._client.aclose()

    @property
    def is_open(self) -> bool:
        """Whether there may be connections to close."""
        return self._client is not None and not self._closed

    def _open(self) -> httpx.AsyncClient:
        """Return the client of httpx, which is made for the first request, so that a fork before it costs nothing."""
        if self._closed:
            raise Closed
        if self._lost_transport:
            raise ClientError(
                "The transport of this client has connections of the process that was forked. Make the client in the "
                "child, or leave out transport=."
            )
        if self._client is None:
            self._loop = asyncio.get_running_loop()
            self._client = httpx.AsyncClient(
                base_url=self.url,
                headers=self._headers,
                timeout=self._timeout,
                limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=100),
                transport=self._transport,
                trust_env=False,  # proxies and passwords in the environment and ~/.netrc are meant for the web
            )
        return self._client

    def begin_afresh(self) -> None:
        """Leave the connections to the parent process. The next request opens one of this process's own."""
        had_connections = self._connections.cut()
        if self._client is not None:
            _of_parents.append(self._client)
        self._client = None
        self._lost_transport = self._lost_transport or (self._transport is not None and had_connections)

    async def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        wait: float = 0.0,
        until: float | None = None,
    ) -> T:
        """Send a request and return its answer as this type.

        `repeatable` requests are sent again if no answer came; others only if the server has certainly not done them.
        `wait` is the seconds that the server may wait on purpose. `until` is the time of the loop until which it may
        wait for a job: each attempt asks for the time that is left, at most MAX_WAIT seconds. Raises ClientError, and
        ValueError for NaN and infinities.
        """
        query = query or {}
        strict.check_finite(query)
        content = None if body is None else strict.encode(body)
        patience = self.patience(until or 0.0)
        while True:
            if until is not None:
                wait = min(max(0.0, until - asyncio.get_running_loop().time()), MAX_WAIT)
                query = {**query, "wait": f"{wait:.3f}"}
            try:
                return _read(await self._send(method, path, query, content, wait, headers or {}), answer)
            except ClientError as error:
                if not await patience.again(error, repeatable=repeatable):
                    raise

    def patience(self, until: float = 0.0) -> Patience:
        """Return the patience for one call, which lasts at least until this time of the loop if it waits.

        A server that has never answered may not exist: then `retry_for` is all.
        """
        return Patience(self._retry_for, self._retries, until if self._has_answered else 0.0)

    async def _send(
        self, method: str, path: str, query: Query, content: bytes | None, wait: float, given: Mapping[str, str]
    ) -> httpx.Response:
        seconds = self._timeout + wait
        headers = {**given} if content is None else {**given, "content-type": "application/json"}
        span = traceparent.current()
        if span is not None:
            headers[traceparent.HEADER] = span
        parameters = {name: value for name, value in query.items() if value is not None}
        failure: ClientError
        try:
            async with asyncio.timeout(seconds):  # the timeout of httpx restarts with each part of the answer
                response = await self._open().request(
                    method,
                    path,
                    params=parameters,
                    content=content,
                    headers=headers,
                    timeout=seconds,
                    extensions=self._traced,
                )
            self._has_answered = True
            return response
        except TimeoutError:
            advice = f"did not answer within {seconds:g} s. Check the server, or allow more time."
            failure = Unreachable(f"{self.shown_url} {advice}", maybe_done=True)
        except _FAILURES as error:
            failure = self._failure(error)
        except RuntimeError as error:
            self._check_loop(error)
            raise
        raise failure  # outside of `except`, so that an error which quotes headers is no part of it

    def _failure(self, error: Exception) -> ClientError:
        """Return the error to raise for one of httpx, or of what httpx uses.

        A request that cannot be sent at all may have a fault in a header. The texts of such errors quote the header,
        maybe with the key in it, so they are neither in the message nor in the chain.
        """
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        url = self.shown_url
        if isinstance(error, httpx.LocalProtocolError) or not isinstance(error, (httpx.RequestError, OSError)):
            reason = f": {error}" if isinstance(error, httpx.InvalidURL) else f" ({type(error).__name__})"
            return ClientError(f"The request to {url} cannot be sent{reason}. Check the arguments of the call.")
        reason = redact_urls(str(error)) or type(error).__name__
        failure = Unreachable(f"{url} cannot be reached: {reason}", maybe_done=not isinstance(error, _NOT_SENT))
        failure.__cause__ = error
        return failure

    def _check_loop(self, error: RuntimeError) -> None:
        """Raise a RuntimeError that says why, if this one of asyncio comes from a use in a second event loop."""
        if not isinstance(error, ClientError) and self._loop is not asyncio.get_running_loop():
            raise RuntimeError(OTHER_LOOP) from error

    @asynccontextmanager
    async def stream(self, path: str, *, query: Query, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """Yield an answer that arrives in parts, with at most SILENCE seconds between two. Raises ClientError."""
        given = {name: value for name, value in query.items() if value is not None}
        try:
            async with self._open().stream(
                "GET",
                path,
                params=given,
                headers=headers,
                timeout=httpx.Timeout(self._timeout, read=SILENCE),
                extensions=self._traced,
            ) as response:
                self._has_answered = True
                if response.status_code != 200:
                    await response.aread()
                    raise _error(response)
                yield response
                return
        except _FAILURES as error:
            failure = self._failure(error)
        except RuntimeError as error:
            self._check_loop(error)
            raise
        raise failure


def _read(response: httpx.Response, answer: type[T]) -> T:
    if not response.is_success:
        raise _error(response)
    content = response.content or b"null"
    try:
        return msgspec.json.decode(content, type=answer)
    except UNREADABLE as error:
        raise BadAnswer(
            f"{shown_url(response)} sent an unexpected answer: {error}. Check that it is a Queuey server.",
            response.status_code,
        ) from None


def _error(response: httpx.Response) -> ClientError:
    problem = read_problem(response.content)
    if problem is None and response.status_code in _NO_SERVER:
        who = f"{shown_url(response)}: a proxy or load balancer"
        return Unreachable(f"{who} answered {response.status_code} instead of the server.", maybe_done=True)
    if problem is None:
        shown = response.text[:SHOWN].strip()
        message = f"{shown_url(response)} answered {response.status_code}, and is not a Queuey server: {shown!r}"
        return BadAnswer(message, response.status_code)
    return refusal(problem, _retry_after(response))


def shown_url(response: httpx.Response) -> str:
    """Return the URL of a request as messages show it: without its query, a user name and a password."""
    return redact_urls(str(response.request.url.copy_with(query=None)))


def _checked(url: object) -> str:
    """Return the URL of a server. Raises ValueError."""
    if isinstance(url, str) and is_server_url(url):
        with suppress(httpx.InvalidURL, ValueError):  # a host that is not valid in IDNA, or not text
            httpx.URL(url)
            return url
    shown = redact_urls(url) if isinstance(url, str) else url
    raise ValueError(f"url must be {URL_RULE}, not {shown!r}.")


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else None

"""Requests over HTTP, which are sent again where that is safe."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import httpx
import msgspec

from queuey.client.errors import BadAnswer, ClientError, Refused, Unavailable, Unreachable, read_problem, refusal
from queuey.protocol import traceparent
from queuey.protocol.credentials import KEY_PATTERN, KEY_RULE

T = TypeVar("T")
Query = Mapping[str, str | int | float | None]

MAX_PAUSE: Final = 30.0
"""The longest pause in seconds. A request is not sent again if the server asks for a longer one."""
FIRST_PAUSE: Final = 0.1
CONNECTIONS: Final = 1000
"""The most connections. Each request that waits for a job uses one."""
SILENCE: Final = 45.0
"""The seconds of silence after which a stream of events is lost: the server pings every 15 seconds."""
SHOWN: Final = 200

_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_NO_SERVER: Final = (502, 503, 504)
"""The statuses of a load balancer that has no server for the request, or lost it."""
_OUTCOME_UNKNOWN: Final = "outcome-unknown"
_encode = msgspec.json.Encoder().encode


class Http:
    """The HTTP connections to the server.

    `timeout` is the seconds that one attempt may take in total. `retries` is the number of attempts after the first.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        timeout: float,
        retries: int,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        self.retries = retries
        self._random = random.Random()
        headers = {"accept": "application/json", "user-agent": "queuey-python"}
        if api_key is not None:
            if re.fullmatch(KEY_PATTERN, api_key) is None:  # the message does not show the key
                raise ValueError(
                    f"api_key must be {KEY_RULE}. A key that is read from a file often has the end of its line: use "
                    f".strip()."
                )
            headers["x-api-key"] = api_key
        # The proxies and passwords in the environment and ~/.netrc are meant for the web.
        self._client = httpx.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=timeout,
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=100),
            transport=transport,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        query: Query | None = None,
        body: Any = None,
        repeatable: bool = True,
        wait: float = 0.0,
    ) -> T:
        """Send a request and return its answer as this type.

        `repeatable` requests are sent again if no answer came; others only if the server has certainly not done them.
        `wait` is the seconds that the server may wait on purpose. Raises ClientError.
        """
        content = None if body is None else _encode(body)
        failed = 0
        while True:
            try:
                response = await self._send(method, path, query, content, wait)
                return _read(response, answer)
            except ClientError as error:
                pause = self._pause(error, failed, repeatable)
                if pause is None:
                    raise
            failed += 1
            await asyncio.sleep(pause)

    async def _send(
        self, method: str, path: str, query: Query | None, content: bytes | None, wait: float
    ) -> httpx.Response:
        seconds = self._timeout + wait
        headers = {} if content is None else {"content-type": "application/json"}
        span = traceparent.current()
        if span is not None:
            headers[traceparent.HEADER] = span
        given = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            async with asyncio.timeout(seconds):  # the timeout of httpx restarts with each part of the answer
                return await self._client.request(
                    method, path, params=given, content=content, headers=headers, timeout=seconds
                )
        except TimeoutError:
            raise Unreachable(
                f"{self.url} did not answer within {seconds:g} s. Check the server, or allow more time.",
                maybe_done=True,
            ) from None
        except httpx.RequestError as error:  # also if the answer does not match its Content-Encoding
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.RequestError) -> Unreachable:
        reason = str(error) or type(error).__name__
        return Unreachable(f"{self.url} cannot be reached: {reason}", maybe_done=not isinstance(error, _NOT_SENT))

    def _pause(self, error: ClientError, failed: int, repeatable: bool) -> float | None:
        """Return the seconds until the request is sent again, or None if it must not be."""
        if failed >= self.retries:
            return None
        asked = 0.0
        if isinstance(error, Unreachable):
            maybe_done = error.maybe_done
        elif isinstance(error, Refused) and (isinstance(error, Unavailable) or error.retry_after is not None):
            maybe_done = error.code == _OUTCOME_UNKNOWN
            asked = error.retry_after or 0.0
        else:
            return None
        if asked > MAX_PAUSE or (maybe_done and not repeatable):
            return None
        own: float = min(MAX_PAUSE, FIRST_PAUSE * 2**failed) * self._random.uniform(0.5, 1.0)
        return max(own, asked)

    @asynccontextmanager
    async def stream(self, path: str, *, query: Query, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """Yield an answer that arrives in parts, with at most SILENCE seconds between two. Raises ClientError."""
        given = {name: value for name, value in query.items() if value is not None}
        try:
            async with self._client.stream(
                "GET", path, params=given, headers=headers, timeout=httpx.Timeout(self._timeout, read=SILENCE)
            ) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise _error(response)
                yield response
        except httpx.RequestError as error:
            raise self._unreachable(error) from error


def _read(response: httpx.Response, answer: type[T]) -> T:
    if not response.is_success:
        raise _error(response)
    content = response.content or b"null"
    try:
        return msgspec.json.decode(content, type=answer)
    except msgspec.DecodeError as error:
        raise BadAnswer(
            f"{_url(response)} sent an unexpected answer: {error}. Check that it is a Queuey server.",
            response.status_code,
        ) from None


def _error(response: httpx.Response) -> ClientError:
    problem = read_problem(response.content)
    if problem is None and response.status_code in _NO_SERVER:
        message = f"{_url(response)}: a proxy or load balancer answered {response.status_code} instead of the server."
        return Unreachable(message, maybe_done=True)
    if problem is None:
        shown = response.text[:SHOWN].strip()
        message = f"{_url(response)} answered {response.status_code}, and is not a Queuey server: {shown!r}"
        return BadAnswer(message, response.status_code)
    return refusal(problem, _retry_after(response))


def _url(response: httpx.Response) -> str:
    return str(response.request.url.copy_with(query=None))


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else None

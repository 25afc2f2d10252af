"""Requests over HTTP, sent again where that is safe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import httpx
import msgspec

from queuey.client.errors import BadAnswer, ClientError, Refused, Unavailable, Unreachable, read_problem, refusal
from queuey.protocol import traceparent

T = TypeVar("T")
Query = Mapping[str, str | int | float | None]

MAX_PAUSE: Final = 30.0
"""A server that wants to be left alone for longer, in seconds, is not asked again."""
FIRST_PAUSE: Final = 0.1
CONNECTIONS: Final = 1000
"""A request that waits for a job holds one."""
SILENCE: Final = 45.0
"""Seconds without a word after which a stream of events is lost: the server pings every 15."""
SHOWN: Final = 200

_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_NO_SERVER: Final = (502, 503, 504)
"""What a balancer answers that has no server for the request, or lost it."""
_OUTCOME_UNKNOWN: Final = "outcome-unknown"
_encode = msgspec.json.Encoder().encode


class Http:
    """`timeout`: seconds that one attempt may take, in all. `retries`: attempts after the first."""

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
            headers["x-api-key"] = api_key
        # Neither proxies nor passwords out of the environment and ~/.netrc, which are meant for the web.
        self._client = httpx.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=timeout,
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=100),
            transport=transport,
            trust_env=False,
        )

    async def close(self) -> None:
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
        """One request, and its answer as this type.

        repeatable: what may be done twice is sent again also when no answer came. What the server has surely not done
        is sent again in any case. wait: seconds that the server takes on purpose. Raises ClientError.
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
            async with asyncio.timeout(seconds):  # httpx alone counts anew with each part that comes
                return await self._client.request(
                    method, path, params=given, content=content, headers=headers, timeout=seconds
                )
        except TimeoutError:
            raise Unreachable(f"{self.url} did not answer within {seconds:g} s.", maybe_done=True) from None
        except httpx.RequestError as error:  # also an answer that is not what its Content-Encoding says
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.RequestError) -> Unreachable:
        reason = str(error) or type(error).__name__
        return Unreachable(f"{self.url} cannot be reached: {reason}", maybe_done=not isinstance(error, _NOT_SENT))

    def _pause(self, error: ClientError, failed: int, repeatable: bool) -> float | None:
        """Seconds until the request is sent again; None when it is not to be."""
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
        """An answer that comes part by part, with SILENCE between two at most. Raises ClientError."""
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
        raise BadAnswer(f"{_place(response)} answered what Queuey does not: {error}.", response.status_code) from None


def _error(response: httpx.Response) -> ClientError:
    problem = read_problem(response.content)
    if problem is None and response.status_code in _NO_SERVER:
        message = f"{_place(response)}: the way to the server answered {response.status_code} in its place."
        return Unreachable(message, maybe_done=True)
    if problem is None:
        shown = response.text[:SHOWN].strip()
        message = f"{_place(response)} answered {response.status_code}, as Queuey does not: {shown!r}"
        return BadAnswer(message, response.status_code)
    return refusal(problem, _retry_after(response))


def _place(response: httpx.Response) -> str:
    return str(response.request.url.copy_with(query=None))


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else None

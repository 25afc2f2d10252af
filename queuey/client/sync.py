"""The client for programs without asyncio. It runs the coroutines of Client in an event loop in its own thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import httpx

from queuey.client.client import LOCAL_URL, Client

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(
    method: Callable[Concatenate[Client, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SyncClient, P], R]:
    """Return a method that blocks until the coroutine is done."""

    @wraps(method)
    def call(self: SyncClient, /, *arguments: P.args, **named: P.kwargs) -> R:
        return self._run(method(self._client, *arguments, **named))

    return call


def _stepping(
    method: Callable[Concatenate[Client, P], AsyncIterator[R]],
) -> Callable[Concatenate[SyncClient, P], Generator[R, None, None]]:
    """Return a method that gives a plain iterator."""

    @wraps(method)
    def iterate(self: SyncClient, /, *arguments: P.args, **named: P.kwargs) -> Generator[R, None, None]:
        steps = method(self._client, *arguments, **named)
        try:
            while (item := self._run(_next(steps))) is not _END:
                yield cast("R", item)
        finally:
            with suppress(_Closed):  # the iterator has ended with the client
                self._run(_end(steps))

    return iterate


class _Closed(RuntimeError):
    def __init__(self, message: str = "This client is closed. Create another one.") -> None:
        super().__init__(message)


_END = object()


async def _next(steps: AsyncIterator[R]) -> R | object:
    return await anext(steps, _END)


async def _end(steps: AsyncIterator[Any]) -> None:
    await steps.aclose()  # type: ignore[attr-defined]  # they are generators


class SyncClient:
    """A client whose methods block until they are done. Several threads may use it at the same time.

    The arguments are those of Client. After a fork, create a client in each child process.
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
        self._client = Client(url, api_key, timeout=timeout, retries=retries, transport=transport)
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()  # so that nothing is submitted to the loop once it stops
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="queuey-client", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL of the server."""
        return self._client.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread. Calls that other threads wait for raise RuntimeError.

        The client cannot be used afterwards. Closing it again does nothing.
        """
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        """Run the loop until it is stopped, then end the calls that other threads wait for."""
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._finish())
        finally:
            self._loop.close()

    async def _finish(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)  # each ends the wait of its thread
        await self._loop.shutdown_asyncgens()
        await self._client.close()

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        with self._lock:
            if self._closed:
                work.close()
                raise _Closed
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise _Closed from None  # only `close` cancels calls
        except BaseException:  # Ctrl-C too: a call that nobody waits for must not continue
            future.cancel()
            raise

    enqueue = _blocking(Client.enqueue)
    send = _blocking(Client.send)
    enqueue_many = _blocking(Client.enqueue_many)
    run = _blocking(Client.run)
    get = _blocking(Client.get)
    wait = _blocking(Client.wait)
    jobs = _stepping(Client.jobs)
    explain = _blocking(Client.explain)
    cancel = _blocking(Client.cancel)
    retry = _blocking(Client.retry)
    delete = _blocking(Client.delete)
    queues = _blocking(Client.queues)
    queue = _blocking(Client.queue)
    pause = _blocking(Client.pause)
    resume = _blocking(Client.resume)
    purge = _blocking(Client.purge)
    workers = _blocking(Client.workers)
    quiet = _blocking(Client.quiet)
    lease = _blocking(Client.lease)
    complete = _blocking(Client.complete)
    fail = _blocking(Client.fail)
    extend = _blocking(Client.extend)
    release = _blocking(Client.release)
    complete_many = _blocking(Client.complete_many)
    fail_many = _blocking(Client.fail_many)
    extend_many = _blocking(Client.extend_many)
    release_many = _blocking(Client.release_many)
    events = _stepping(Client.events)
    follow = _stepping(Client.follow)
    dlq = _stepping(Client.dlq)
    dlq_groups = _blocking(Client.dlq_groups)
    dlq_replay = _blocking(Client.dlq_replay)
    dlq_delete = _blocking(Client.dlq_delete)
    edit = _blocking(Client.edit)
    metrics = _blocking(Client.metrics)
    replay = _blocking(Client.replay)

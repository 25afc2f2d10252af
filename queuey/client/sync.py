"""The same client for programs without asyncio: its coroutines, run by an event loop in a thread of its own."""

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
    """The method of the same name, which returns when it is done."""

    @wraps(method)
    def call(self: SyncClient, /, *arguments: P.args, **named: P.kwargs) -> R:
        return self._run(method(self._client, *arguments, **named))

    return call


def _stepping(
    method: Callable[Concatenate[Client, P], AsyncIterator[R]],
) -> Callable[Concatenate[SyncClient, P], Generator[R, None, None]]:
    """The iterator of the same name."""

    @wraps(method)
    def iterate(self: SyncClient, /, *arguments: P.args, **named: P.kwargs) -> Generator[R, None, None]:
        steps = method(self._client, *arguments, **named)
        try:
            while (item := self._run(_next(steps))) is not _END:
                yield cast("R", item)
        finally:
            with suppress(_Closed):  # then it has ended with the client
                self._run(_end(steps))

    return iterate


class _Closed(RuntimeError):
    def __init__(self) -> None:
        super().__init__("this client has been closed")


_END = object()


async def _next(steps: AsyncIterator[R]) -> R | object:
    return await anext(steps, _END)


async def _end(steps: AsyncIterator[Any]) -> None:
    await steps.aclose()  # type: ignore[attr-defined]  # they are generators


class SyncClient:
    """Client, with methods that return when they are done. Any thread may use it, several at a time.

    The arguments are those of Client. A process that forks makes its own in each child.
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
        self._lock = threading.Lock()  # nothing is handed to the loop once it has been told to stop
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="queuey-client", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return self._client.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections and end its thread; what other threads wait for meanwhile is a RuntimeError there.

        It cannot be used any more; closing it again does nothing.
        """
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        """The thread: runs the loop until it is told to stop, and leaves nothing in it that somebody waits for."""
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._finish())
        finally:
            self._loop.close()

    async def _finish(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)  # each tells the thread that waits for it
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
            raise _Closed from None  # nothing else cancels what runs here
        except BaseException:  # Ctrl-C too: what nobody waits for any more is not to go on
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

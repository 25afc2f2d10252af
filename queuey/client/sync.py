"""The client for programs without asyncio. It runs the coroutines of Client in an event loop in its own thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, cast

import httpx

from queuey import forks, loops
from queuey.client.client import UNCLOSED, Client
from queuey.client.errors import ClientError, Closed
from queuey.protocol.credentials import redact_urls

IN_SERVER: Final = (
    "A SyncClient would block the event loop of the Queuey server or worker that runs this code, so nothing was sent. "
    "Await a Client instead (for jobs: await handler.enqueue(payload)), or make the handler a plain def, which runs in "
    "a thread."
)

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
        here = forks.count()
        try:
            while (item := self._run(_next(steps))) is not _END:
                yield cast("R", item)
                if forks.count() != here:
                    raise ClientError("This iteration was begun before a fork. Begin it again in the child.")
        finally:
            if forks.count() == here:  # else its connection belongs to the parent
                with suppress(Closed):  # the iterator has ended with the client
                    self._run(_end(steps))

    return iterate


_END = object()
_of_parents: Final[list[_Runner]] = []
"""In a forked copy, the runners of its parents: at most one for each client and fork.

They are kept, since an event loop that is freed changes the selector, which the two processes share."""


async def _next(steps: AsyncIterator[R]) -> R | object:
    return await anext(steps, _END)


async def _end(steps: AsyncIterator[Any]) -> None:
    await steps.aclose()  # type: ignore[attr-defined]  # they are generators


class _Runner:
    """An event loop in a thread of its own, which runs the calls of one client until it is stopped.

    It does not know the SyncClient, so that one that is forgotten can end it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="queuey-client", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, R]) -> concurrent.futures.Future[R]:
        """Run a coroutine. `stop` must not have been called."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        """Begin to end the thread. It cancels the calls that other threads wait for, and closes the client."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _serve(self) -> None:
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


class SyncClient:
    """A client whose methods block until they are done. Several threads may use it at the same time.

    In the event loop of a Queuey server or worker they raise RuntimeError.

    The arguments are those of Client. Its thread starts with the first call. It may be made before a fork: the child
    starts a thread and opens connections of its own.
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
        self._client = Client(url, api_key, timeout=timeout, retry_for=retry_for, retries=retries, transport=transport)
        self._shown_url = redact_urls(self.url)  # made now: a warning at the end of the interpreter can import nothing
        self._lock = threading.Lock()  # so that nothing is submitted to the runner once it stops
        self._runner: _Runner | None = None
        self._closed = False
        forks.renew(self)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        runner = self.__dict__.get("_runner")  # there is none if the arguments were refused
        if runner is None or self._closed:
            return
        _warn(UNCLOSED.format("SyncClient", self._shown_url, "with"), ResourceWarning, source=self)
        with suppress(RuntimeError):  # the loop has ended with the interpreter
            runner.stop()

    def begin_afresh(self) -> None:
        """Leave the thread to the parent process. The next call starts one of this process's own."""
        if self._runner is not None:
            _of_parents.append(self._runner)
        self._runner, self._lock = None, threading.Lock()

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
        """Close the connections and end the thread. Calls that other threads wait for raise Closed.

        The client cannot be used afterwards. Closing it again does nothing.
        """
        with self._lock:
            if self._runner is not None and not self._closed:
                self._runner.stop()
            self._closed = True
        if self._runner is not None:
            self._runner.join()

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        if loops.serves_here():
            work.close()
            raise RuntimeError(IN_SERVER)
        with self._lock:
            if self._closed:
                work.close()
                raise Closed
            if self._runner is None:
                self._runner = _Runner(self._client)
            future = self._runner.submit(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Closed from None  # only `close` cancels calls
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
    log = _blocking(Client.log)
    cancel = _blocking(Client.cancel)
    retry = _blocking(Client.retry)
    delete = _blocking(Client.delete)
    cancel_matching = _blocking(Client.cancel_matching)
    retry_matching = _blocking(Client.retry_matching)
    delete_matching = _blocking(Client.delete_matching)
    queues = _blocking(Client.queues)
    queue = _blocking(Client.queue)
    pause = _blocking(Client.pause)
    resume = _blocking(Client.resume)
    purge = _blocking(Client.purge)
    pulse = _blocking(Client.pulse)
    workers = _blocking(Client.workers)
    quiet = _blocking(Client.quiet)
    put_schedule = _blocking(Client.put_schedule)
    schedule = _blocking(Client.schedule)
    schedules = _stepping(Client.schedules)
    delete_schedule = _blocking(Client.delete_schedule)
    pause_schedule = _blocking(Client.pause_schedule)
    resume_schedule = _blocking(Client.resume_schedule)
    trigger_schedule = _blocking(Client.trigger_schedule)
    backfill_schedule = _blocking(Client.backfill_schedule)
    preview_schedule = _blocking(Client.preview_schedule)
    lease = _blocking(Client.lease)
    complete = _blocking(Client.complete)
    fail = _blocking(Client.fail)
    snooze = _blocking(Client.snooze)
    checkpoint = _blocking(Client.checkpoint)
    extend = _blocking(Client.extend)
    keep_log = _blocking(Client.keep_log)
    release = _blocking(Client.release)
    complete_many = _blocking(Client.complete_many)
    fail_many = _blocking(Client.fail_many)
    checkpoint_many = _blocking(Client.checkpoint_many)
    extend_many = _blocking(Client.extend_many)
    keep_log_many = _blocking(Client.keep_log_many)
    release_many = _blocking(Client.release_many)
    events = _stepping(Client.events)
    follow = _stepping(Client.follow)
    dlq = _stepping(Client.dlq)
    dlq_groups = _blocking(Client.dlq_groups)
    dlq_replay = _blocking(Client.dlq_replay)
    dlq_delete = _blocking(Client.dlq_delete)
    edit = _blocking(Client.edit)
    me = _blocking(Client.me)
    audit = _stepping(Client.audit)
    end_sessions = _blocking(Client.end_sessions)
    metrics = _blocking(Client.metrics)
    replay = _blocking(Client.replay)

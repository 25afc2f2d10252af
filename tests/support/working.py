"""Workers inside the test's process, on a real store: all that `queuey serve` builds around one, but HTTP."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import msgspec
from redis import exceptions as redis_errors

from queuey.errors import StoreUnavailable
from queuey.lifecycle import end_tasks
from queuey.metrics import Metrics
from queuey.services.leases.acks import Acks
from queuey.services.maintenance.loops import run_forever
from queuey.services.reports.job_logs import LogRecorder
from queuey.services.reports.progress import ProgressRecorder
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import StoreClient
from queuey.store.keys import asides_channel, cancel_channel
from queuey.store.pubsub import Subscriber
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from queuey.store.wakeups import Covering, Waker, wake_groups
from queuey.worker.execution import Execution
from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context
from queuey.worker.lease_keeper import StoreRenewer
from queuey.worker.settings import ExecutionSettings, WorkerSettings
from queuey.worker.store_source import ANSWER_AFTER, StoreSource
from queuey.worker.worker import Worker
from tests.support.connections.silent import Apart, SplitShards, shards_at
from tests.support.store import Server, client_for

PATIENCE: Final = 20.0
ROUND: Final = 8
"""Seconds after which an idle replica looks for work unasked, in tests that patch waking.BLOCK_SECONDS with it."""
QUICKLY: Final = 6.0
"""Seconds. Below ROUND, so what happens within it was told, also on a busy machine."""
HELD: Final = '{"type":"held"}'
"""The body of a job for the Stage."""


class Stage:
    """An App whose jobs of the type `held` say that they run, and run until the test ends them."""

    def __init__(self) -> None:
        self.app = App()
        self.app.job("held")(self._held)
        self.ran: list[str] = []
        """The jobs in the order in which they started; a job that ran twice stands there twice."""
        self.cancelled: list[str] = []
        self._started: asyncio.Queue[str] = asyncio.Queue()
        self._ends: dict[str, asyncio.Future[Any]] = {}

    async def _held(self, payload: Any, ctx: Context) -> Any:
        end = self._ends[ctx.job_id] = asyncio.get_running_loop().create_future()
        self.ran.append(ctx.job_id)
        self._started.put_nowait(ctx.job_id)
        try:
            return await end
        except asyncio.CancelledError:
            self.cancelled.append(ctx.job_id)
            raise

    async def next(self, *, within: float = PATIENCE) -> str:
        """The next job that starts."""
        async with asyncio.timeout(within):
            return await self._started.get()

    async def take(self, count: int) -> list[str]:
        """The next jobs that start, in order."""
        return [await self.next() for _ in range(count)]

    def finish(self, *job_ids: str, result: object = None) -> None:
        for job_id in job_ids:
            self._ends[job_id].set_result(result)

    def fail(self, job_id: str, error: BaseException) -> None:
        self._ends[job_id].set_exception(error)


class ThreadStage:
    """An App with handlers in threads, one for each of `types`, that wait until the test lets them return."""

    def __init__(self, *types: str, app: App | None = None) -> None:
        self.app = app or App()
        self.ran: list[str] = []
        """The jobs in the order in which they started."""
        self._started: asyncio.Queue[str] = asyncio.Queue()
        self._ends: dict[str, threading.Event] = {}
        self._loop = asyncio.get_running_loop()
        for type in types or ("thread",):
            self.app.job(type)(self._run)

    def _run(self, payload: Any, ctx: Context) -> None:
        end = self._ends[ctx.job_id] = threading.Event()
        self._loop.call_soon_threadsafe(self._begun, ctx.job_id)
        assert end.wait(2 * PATIENCE)

    def _begun(self, job_id: str) -> None:
        self.ran.append(job_id)
        self._started.put_nowait(job_id)

    async def next(self, *, within: float = PATIENCE) -> str:
        """The next job that starts."""
        async with asyncio.timeout(within):
            return await self._started.get()

    async def take(self, count: int) -> list[str]:
        """The next jobs that start, in order."""
        return [await self.next() for _ in range(count)]

    def finish(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self._ends[job_id].set()

    def finish_all(self) -> None:
        self.finish(*self._ends)


def body(type: str) -> str:
    """The body of a job of this type."""
    return f'{{"type":"{type}"}}'


class FaultyScripts(Scripts):
    """Scripts whose calls are counted, and go wrong as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, list[Any]]] = []
        """Name and arguments of every call, in order."""
        self.replies_to_drop: Counter[str] = Counter()
        """How many of the next calls of a script run, while their callers are told that no reply came."""
        self.calls_to_lose: Counter[str] = Counter()
        """How many of the next calls of a script do not run, while their callers cannot know that."""
        self.down = False
        """The store cannot be reached."""
        self.gates: dict[str, asyncio.Event] = {}
        """A script that stands here runs, and its reply comes once the event is set."""
        self.waiting: asyncio.Queue[str] = asyncio.Queue()
        """The scripts whose replies are held back by a gate."""

    async def call(
        self, client: StoreClient, name: str, keys: tuple[str, str], argument: bytes, copies: int = 0
    ) -> bytes:
        self.calls.append((name, msgspec.msgpack.decode(argument)))
        if self.down:
            raise StoreUnavailable("switched off by the test")
        if self.calls_to_lose[name]:
            self.calls_to_lose[name] -= 1
            raise StoreUnavailable("the call was lost by the test", maybe_done=True)
        reply = await super().call(client, name, keys, argument, copies)
        if gate := self.gates.get(name):
            self.waiting.put_nowait(name)
            # A test that fails leaves it closed, and then what it has built would wait for ever.
            overdue = asyncio.get_running_loop().call_later(2 * PATIENCE, gate.set)
            await gate.wait()
            overdue.cancel()
        if self.replies_to_drop[name]:
            self.replies_to_drop[name] -= 1
            raise StoreUnavailable("the reply was dropped by the test", maybe_done=True)
        return reply

    def arguments(self, name: str) -> list[list[Any]]:
        """Those of every call of one script."""
        return [arguments for called, arguments in self.calls if called == name]


@asynccontextmanager
async def working(
    url: str,
    app: App,
    *,
    scripts: Scripts | None = None,
    shards: int = 1,
    worker_id: str = "w1",
    queues: Sequence[str] = ("default",),
    keeper: bool = False,
    waker: bool = True,
    listener: bool = False,
    cluster: bool = False,
    ack_patience: float = 60.0,
    ends: dict[str, float] | None = None,
    threads: int = 4,
    path: str | None = None,
    apart: Apart | None = None,
    limits: dict[str, int] | None = None,
    **settings: Any,
) -> AsyncIterator[Worker]:
    """A worker that claims. `keeper`, `waker`, `listener`: which of the parts around it run too.

    `ends`: the seconds of WorkerSettings in which it ends. `path`: of an App with process handlers, for one process.
    `limits`: those of some queues.
    `apart`: a shard that is reached through a black hole.
    """
    async with AsyncExitStack() as stack:
        scripts = scripts or Scripts()
        broker = Broker(await stack.enter_async_context(shards_at(url, shards, apart)), scripts)
        frozen = Settings(**{"grace": 5.0, **settings})
        execution = _execution(app, path, frozen, threads)
        await execution.start()
        stack.push_async_callback(execution.stop, abandon=True)
        own = WorkerSettings.of(frozen, worker_id, queues)
        own = msgspec.structs.replace(own, queue_limits=limits or {}, **(ends or {}))
        acks, progress = Acks(broker, ack_patience, answer_after=ANSWER_AFTER), ProgressRecorder(broker)
        metrics = Metrics()
        source = StoreSource(broker, acks, progress, LogRecorder(broker), own, metrics=metrics, events=app.hooks.events)
        worker = Worker(source, execution, own, metrics=metrics)
        if keeper:
            worker.keeper.start(lambda: StoreRenewer(Broker(_foreign_shards(url, shards, apart), Scripts())))
            stack.push_async_callback(worker.keeper.stop)
        parts = [worker.run()]
        waiting = client_for(url)
        stack.push_async_callback(waiting.aclose)
        if waker:
            wakers, changed = [], asyncio.Event()
            worker.asides.on_change = changed.set
            for group in wake_groups(broker.shards, cluster=cluster or apart is not None):
                blocking = client_for(apart.hole.url if apart and group == [apart.shard] else url)
                stack.push_async_callback(blocking.aclose)
                wake = worker.may_wait, worker.wake, worker.asides, worker_id
                wakers.append(Waker(blocking, broker.shards, group, queues, *wake))
            parts += [*map(run_forever, wakers), run_forever(Covering(wakers, changed))]
        if listener:
            channels = {cancel_channel(): worker.on_cancel, asides_channel(): worker.asides.hear}
            parts.append(run_forever(Subscriber(waiting, channels)))
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            yield worker
        finally:
            await end_tasks(tasks)
        assert [task for task in tasks if not task.cancelled()] == []


def _foreign_shards(url: str, shards: int, apart: Apart | None) -> Shards:
    """Shards for the event loop of another thread, which closes what reaches them."""
    if apart is None:
        return Shards(client_for(url), shards)
    through = client_for(apart.hole.url, timeout=apart.timeout)
    return SplitShards(client_for(url, timeout=apart.timeout), shards, apart.shard, through)


def _execution(app: App, path: str | None, settings: Settings, threads: int) -> Execution:
    few = msgspec.structs.replace(ExecutionSettings.of(settings), thread_slots=threads, process_slots=1)
    return Execution(app, path, few, on_event=lambda event, /, **fields: None)


class AskedAcks:
    """Acks whose every answer is awaited."""

    def __init__(self, broker: Broker, patience: float) -> None:
        self.acks = Acks(broker, patience)

    def complete(self, *outcome: Any) -> asyncio.Future[str]:
        return self._ask(self.acks.complete, *outcome)

    def fail(self, *outcome: Any) -> asyncio.Future[str]:
        return self._ask(self.acks.fail, *outcome)

    def release(self, shard: int, job_id: str, token: str) -> asyncio.Future[str]:
        return self.acks.release(shard, job_id, token)

    def _ask(self, tell: Callable[..., None], *outcome: Any) -> asyncio.Future[str]:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def answer(status: str | None, error: Exception | None) -> None:
            if error is None:
                future.set_result(str(status))
            else:
                future.set_exception(error)

        tell(*outcome, answer)
        return future


async def eventually(question: Callable[[], Awaitable[bool]], *, within: float = PATIENCE) -> None:
    """Ask until the answer is yes: for what changes in the store, which nothing announces."""
    async with asyncio.timeout(within):
        while not await question():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


async def until_blocked(client: Any, clients: int) -> None:
    """Wait until so many clients of the store wait in a blocking command."""

    async def blocked() -> bool:
        return bool((await client.info("clients"))["blocked_clients"] == clients)

    await eventually(blocked)


async def restart(server: Server, client: Any) -> None:
    """Kill the store, and start it again on its data."""
    kill(server)
    await start_again(server, client)


def kill(server: Server) -> None:
    server.process.kill()
    server.process.wait()


async def start_again(server: Server, client: Any) -> None:
    server.process = subprocess.Popen(server.process.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await eventually(lambda: _answers(client))


async def _answers(client: Any) -> bool:
    try:
        return bool(await client.ping())
    except (redis_errors.RedisError, OSError):
        return False


def claims(calls: FaultyScripts) -> list[str]:
    """The claim id of each claim that was sent."""
    return [arguments[1] for arguments in calls.arguments("claim")]


class Clock:
    """Stands in for the module `time` where a test sets the time itself."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time()

"""The composition root: makes every part of a replica, starts them in order, drains them, and stops them."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

from queuey import log, loops
from queuey.errors import CannotRunHere, StartupError, TooOld
from queuey.lifecycle import Part, StopSignals, Tasks, done_before, freeze
from queuey.metrics import Metrics
from queuey.protocol.credentials import Credentials, redact_urls
from queuey.server.assembly import Assembly, Door
from queuey.server.http.ports import bind, url_of
from queuey.server.limits import store_timeout
from queuey.server.presence import Presence
from queuey.server.roles import Common
from queuey.server.store import STORE_TIMEOUT, ServerStore, StoreSettings, check_copies
from queuey.service_manager import READY, STOPPING, notify
from queuey.services.events.publisher import EventPublisher
from queuey.services.peers import ALONE, Place
from queuey.services.workers import process_name
from queuey.settings.settings import Settings, notify_socket
from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.version import __version__
from queuey.worker.executors.running import run_to_end
from queuey.worker.handlers import builtin
from queuey.worker.handlers.app import load_app

logger = log.get(__name__)


class ReplicaContext(NamedTuple):
    """The context that a replica of `--processes N` gets from its parent.

    `bound`: its socket, unless it answers no HTTP. `on_started` is called with the fields of the log line."""

    signals: StopSignals
    bound: socket.socket | None
    place: Place
    on_started: Callable[[dict[str, object]], None]


def serve(settings: Settings, context: ReplicaContext | None = None) -> int:
    """Run a server until SIGTERM, SIGINT or SIGHUP. Returns the exit code. Raises StartupError."""
    replica = process_name()
    log.configure(settings.log_level, settings.log_format, fields={"replica": replica} if _has_peers(context) else None)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return run_to_end(runner.get_loop(), Server(settings, replica, context).run())


def _has_peers(context: ReplicaContext | None) -> bool:
    return context is not None and context.place.count > 1


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


class Server:
    """One replica: the parts that `settings.roles` asks for, on one store."""

    def __init__(self, settings: Settings, replica: str, context: ReplicaContext | None = None) -> None:
        self._settings = settings
        self._id = replica
        self._context = context
        self._signals = context.signals if context else StopSignals()
        self._app = load_app(settings.app) if settings.app else builtin.app
        self._metrics = Metrics(settings.queue_names or self._app.queues)
        self._tasks = Tasks()
        self._store = ServerStore(StoreSettings.of(settings), Scripts(metrics=self._metrics), self._tasks)
        self._parts: Sequence[Part] = ()
        self._stack = AsyncExitStack()

    async def run(self) -> int:
        """Start, serve until a signal comes or a part fails, drain, stop. Returns the exit code."""
        signals = self._signals
        signals.install()
        async with self._stack:
            self._stack.enter_context(loops.serving())
            try:
                if not await done_before(self._start(), signals.first):
                    return 0
                failed = await self._wait(signals.first)
                if not await done_before(self._drain(), signals.second):
                    await self._leave_at_once()
            finally:
                await self._tasks.end()
        logger.info("stopped", replica=self._id)
        return 1 if failed else 0

    # --- start ----------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        settings = self._settings
        credentials = Credentials(settings.api_key, settings.api_keys, settings.anonymous)
        bound = self._bound(credentials)
        await self._begin(self._store)
        common = await self._open_store()
        door = self._door(bound, credentials)
        declares = self._context is None or self._context.place.number <= 1
        enqueuing = await self._enqueuing_broker(common)
        self._parts = Assembly(common, self._app, enqueuing, door, declares=declares).parts()
        for part in self._parts:
            await self._begin(part)
        freeze()
        facts: dict[str, object] = {
            "version": __version__,
            "replica": self._id,
            "url": url_of(bound) if bound else None,
            "docs": f"{url_of(bound)}/docs" if bound else None,
            "store": redact_urls(self._store.url),
            "durability": common.durability,
            "roles": list(settings.roles),
            "types": sorted(self._app.handlers),
        }
        if self._context is None:
            logger.info("started", **facts)
            notify(notify_socket(), READY)
        else:
            if _has_peers(self._context):
                logger.info("replica_started", **facts)
            self._context.on_started(facts)

    async def _begin(self, part: Part) -> None:
        self._stack.push_async_callback(part.stop)
        await part.start()

    def _bound(self, credentials: Credentials) -> socket.socket | None:
        """Return the socket for HTTP. It is bound before the store is opened: a port in use is found at once, and
        changes nothing."""
        if self._context is not None:
            return self._context.bound
        if "api" not in self._settings.roles:
            return None
        warning = credentials.check_bind(self._settings.host)
        if warning:
            logger.warning("weak_access", warning=warning)
        bound = bind(self._settings.host, self._settings.port)
        self._stack.callback(bound.close)
        return bound

    def _door(self, bound: socket.socket | None, credentials: Credentials) -> Door | None:
        if bound is None:
            return None
        place = self._context.place if self._context else ALONE
        return Door(bound=bound, credentials=credentials, place=place, signals=self._signals)

    async def _open_store(self) -> Common:
        settings, store = self._settings, self._store
        publisher = EventPublisher(store.broker(STORE_TIMEOUT))
        broker = store.broker(store_timeout(settings.lease), publisher)
        durability = await store.check(
            broker, self._id, Presence(self._id, settings.roles, settings.beat_interval).describe()
        )
        return Common(
            settings=settings,
            replica=self._id,
            tasks=self._tasks,
            metrics=self._metrics,
            store=store,
            is_cluster=await broker.is_cluster(),
            durability=durability,
            publisher=publisher,
            broker=broker,
            api_broker=store.broker(settings.store_timeout, publisher),
        )

    async def _enqueuing_broker(self, common: Common) -> Broker:
        """Return the Broker of the Producer. The store answers nothing else on a connection that waits for replicas."""
        copies = self._settings.wait_replicas
        if not copies:
            return common.api_broker
        broker = self._store.broker(self._settings.store_timeout, common.publisher)
        await check_copies(broker, copies)
        return broker

    # --- run and stop ---------------------------------------------------------------------------------------------

    async def _wait(self, stop: asyncio.Event) -> bool:
        """Wait until `stop` is set (False) or a task ends, which none should (True). Raises its StartupError."""
        failed = await self._tasks.ended_before(stop)
        for task in failed:
            error = task.exception()
            if isinstance(error, CannotRunHere):  # the jobs that run may finish
                logger.error("too_old" if isinstance(error, TooOld) else "other_shards", error=error.message)
                continue
            if isinstance(error, StartupError):
                raise error
            logger.error("part_failed", part=task.get_name(), exc_info=error)
        return bool(failed)

    async def _drain(self) -> None:
        """Drain the parts in order: /readyz turns red first, so that a balancer sends nothing more."""
        running = sum(part.running for part in self._parts)
        logger.info("draining", running=running, timeout=self._settings.drain_timeout)
        if self._context is None:
            notify(notify_socket(), STOPPING)
        for part in self._parts:
            await part.drain()

    async def _leave_at_once(self) -> None:
        """End after a second signal: release the running jobs and stop the store, as far as that takes no time."""
        logger.warning("forced_exit")
        for part in self._parts:
            await part.abandon()
        await self._tasks.end()
        await self._store.abandon()
        os._exit(1)

"""The composition root: builds every part, runs them together, and takes them down again in order."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, NamedTuple

from queuey import log
from queuey.api.app import create_app
from queuey.errors import QueueyError, StartupError, StoreUnavailable
from queuey.lifecycle import StopSignals, done_before, end_tasks
from queuey.metrics import Metrics
from queuey.protocol.credentials import Credentials, redact_urls
from queuey.server.http.listener import Listener, within_files
from queuey.server.http.ports import bind, url_of
from queuey.server.limits import STORE_TIMEOUT, caps, connection_limits, store_timeout
from queuey.server.presence import Presence
from queuey.services.events.publisher import EventPublisher
from queuey.services.events.subscribers import EventSubscribers
from queuey.services.health import Health
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.progress import ProgressRecorder
from queuey.services.jobs.submission import Decoder, Submission
from queuey.services.jobs.waiters import Waiters
from queuey.services.leases.acks import Acks
from queuey.services.leases.pulling import Pulling
from queuey.services.maintenance.heartbeat import Heartbeat
from queuey.services.maintenance.lag_watch import LagWatch
from queuey.services.maintenance.loops import run_forever
from queuey.services.maintenance.promoter import Promoter
from queuey.services.maintenance.reaper import Reaper
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.services.maintenance.trimmer import Trimmer
from queuey.services.peers import Peers
from queuey.services.workers import process_name
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import StoreClient, connect
from queuey.store.embedded.store import EmbeddedStore
from queuey.store.keys import cancel_channel, listening_channel
from queuey.store.pubsub import EventStream, Subscriber
from queuey.store.scripts import Scripts
from queuey.store.selfcheck import MEND, StoreReport, check_store
from queuey.store.shards import Shards
from queuey.store.wakeups import BLOCK_SECONDS, Waker, wake_groups
from queuey.version import __version__
from queuey.worker.execution import Execution
from queuey.worker.handlers import builtin
from queuey.worker.handlers.app import load_app
from queuey.worker.lease_keeper import StoreRenewer
from queuey.worker.sender import Sending
from queuey.worker.settings import ExecutionSettings, WorkerSettings
from queuey.worker.store_source import StoreSource
from queuey.worker.worker import Worker

STORE_PATIENCE: Final = 30.0
"""Seconds that an external store may be away at start-up."""
ACK_SECONDS: Final = 120.0
"""Seconds for which a job's outcome is sent again: longer than a restart of the store takes."""
LEAVE_SECONDS: Final = 2.0
BUILTIN_APP: Final = "queuey.worker.handlers.builtin:app"

logger = log.get(__name__)


class ReplicaContext(NamedTuple):
    """What a replica that is one of several gets from its parent.

    `bound`: its socket, unless it answers no HTTP. `on_started` is told what the log is told."""

    signals: StopSignals
    bound: socket.socket | None
    siblings: Peers
    on_started: Callable[[dict[str, object]], None]


def serve(settings: Settings, context: ReplicaContext | None = None) -> int:
    """Run a server until SIGTERM or SIGINT. Returns the exit code. Raises StartupError."""
    replica = process_name()
    log.configure(settings.log_level, settings.log_format, fields={"replica": replica} if context else None)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(Server(settings, replica, context).run())


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
        self._metrics = Metrics(settings.queues or self._app.queues, self._app.handlers)
        self._scripts = Scripts(metrics=self._metrics)
        self._submission = Submission(settings, self._max_attempts_of, self._decoder_of)
        self._stack = AsyncExitStack()
        self._background: set[asyncio.Task[None]] = set()
        self._embedded: EmbeddedStore | None = None
        self._health: Health | None = None
        self._presence = Presence(
            replica, settings.roles, settings.concurrency, settings.queues or self._app.queues, self._app.handlers
        )
        self._worker: Worker | None = None
        self._listener: Listener | None = None
        self._producer: Producer | None = None
        self._waiters: Waiters | None = None
        self._pulling: Pulling | None = None
        self._followers: EventSubscribers | None = None
        self._feed: EventPublisher | None = None

    async def run(self) -> int:
        """Start, serve until a signal comes or a part fails, drain, stop. Returns the exit code."""
        signals = self._signals
        signals.install()
        async with self._stack:
            try:
                if not await done_before(self._start(), signals.first):
                    return 0
                failed = await self._wait(signals.first)
                if not await done_before(self._drain(), signals.second):
                    await self._leave_at_once()
            finally:
                await end_tasks(self._background)
        logger.info("stopped", replica=self._id)
        return 1 if failed else 0

    # --- start ----------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        settings = self._settings
        credentials = Credentials(settings.api_key, settings.api_keys, settings.anonymous)
        if self._context is not None:
            bound = self._context.bound
        else:
            bound = self._bind(credentials) if "api" in settings.roles else None
        url = settings.redis or await self._open_embedded()
        self._feed = feed = EventPublisher(self._broker(url, STORE_TIMEOUT))
        broker = self._broker(url, store_timeout(settings.lease))
        report = await self._check(broker, embedded=settings.redis is None)
        api_broker = self._broker(url, settings.store_timeout)
        producer = await self._make_producer(url, api_broker)
        self._producer = producer
        self._app.sender = sending = Sending(self._submission, producer)
        watch = StoreWatch(broker, settings.lease, producer.set_full)
        await watch.run_once()
        self._spawn("store-watch", run_forever(watch))
        self._spawn("lag-watch", run_forever(LagWatch(self._metrics)))
        if "worker" in settings.roles:
            progress = ProgressRecorder(broker)
            progress.on_reported = feed.progress
            producer.on_send = (await self._start_worker(url, broker, progress, sending)).expect
        self._start_listener(url, feed)
        if "reaper" in settings.roles:
            self._start_maintenance(broker, watch)
        self._start_heartbeat(broker)
        self._health = Health(api_broker, report.durability)
        if bound is not None:
            await self._start_http(bound, url, api_broker, producer, credentials, self._health)
        facts: dict[str, object] = {
            "version": __version__,
            "replica": self._id,
            "url": url_of(bound) if bound else None,
            "store": redact_urls(url),
            "durability": report.durability,
            "roles": list(settings.roles),
            "types": sorted(self._app.handlers),
        }
        if self._context is None:
            logger.info("started", **facts)
        else:
            logger.info("replica_started", **facts)
            self._context.on_started(facts)

    def _bind(self, credentials: Credentials) -> socket.socket:
        """Before the store is opened: a port in use is found at once, and changes nothing."""
        warning = credentials.check_bind(self._settings.host)
        if warning:
            logger.warning("weak_access", warning=warning)
        bound = bind(self._settings.host, self._settings.port)
        self._stack.callback(bound.close)
        return bound

    async def _open_embedded(self) -> str:
        settings = self._settings
        self._embedded = store = EmbeddedStore(
            settings.data_dir,
            fsync=settings.fsync,
            maxmemory=settings.maxmemory,
            on_event=_log_event,
        )
        self._stack.push_async_callback(store.stop)
        await store.start()
        self._spawn("embedded-store", store.run())
        return store.url

    async def _make_producer(self, url: str, api_broker: Broker) -> Producer:
        settings, copies = self._settings, self._settings.wait_replicas
        if copies:
            # On a connection of its own: the store answers nothing else on one that waits for replicas.
            api_broker = self._broker(url, settings.store_timeout)
            there = await api_broker.copies()
            if there < copies:
                text = f"{there} replicas of the store are up to date, and --wait-replicas asks for {copies}"
                logger.warning("store_warning", warning=f"{text}: no job is acknowledged before there are as many.")
        return Producer(api_broker, metrics=self._metrics, resend_for=settings.request_deadline, copies=copies)

    def _client(self, url: str, timeout: float) -> StoreClient:
        client = connect(url, timeout=timeout)
        self._stack.push_async_callback(client.aclose)
        return client

    def _broker(self, url: str, timeout: float) -> Broker:
        client = self._client(url, timeout)
        shards = Shards(client, self._settings.shards, self._settings.prefix)
        return Broker(shards, self._scripts, self._feed)

    async def _check(self, broker: Broker, *, embedded: bool) -> StoreReport:
        """Hold the store against what Queuey needs. An external one may come up a little later than we do."""
        give_up_at = time.monotonic() + STORE_PATIENCE
        while True:
            try:
                report = await check_store(broker.shards.client, broker.shards, self._scripts, embedded=embedded)
                await broker.replicas.register()
            except StoreUnavailable as error:
                if time.monotonic() > give_up_at:
                    raise StartupError(redact_urls(f"{error.message} {MEND}")) from error
                logger.warning("store_awaited", error=redact_urls(error.message))
                await asyncio.sleep(1)
            else:
                for warning in report.warnings:
                    logger.warning("store_warning", warning=warning)
                return report

    async def _start_worker(self, url: str, broker: Broker, progress: ProgressRecorder, sending: Sending) -> Worker:
        settings = self._settings
        execution = Execution(self._app, settings.app or BUILTIN_APP, ExecutionSettings.of(settings))
        await execution.start()
        sending.is_traced = execution.is_traced
        self._stack.push_async_callback(execution.stop, abandon=True)
        metrics, queues = self._metrics, settings.queues or self._app.queues
        own = WorkerSettings.of(settings, self._id, queues)
        source = StoreSource(broker, Acks(broker, ACK_SECONDS), progress, own, metrics=metrics)
        self._worker = self._presence.worker = worker = Worker(source, execution, own, metrics=metrics)
        worker.keeper.start(lambda: StoreRenewer(self._lease_broker(url)))
        self._stack.push_async_callback(worker.keeper.stop)
        self._spawn("worker", worker.run())
        groups = wake_groups(broker.shards, cluster=await broker.is_cluster())
        for group in groups:
            waiting = self._client(url, BLOCK_SECONDS + STORE_TIMEOUT)  # one each: it blocks what comes behind it
            waker = Waker(waiting, broker.shards, group, queues, worker.may_wait, worker.wake)
            self._spawn("waker", run_forever(waker))
        return worker

    async def _start_pulling(self, url: str, api_broker: Broker, producer: Producer) -> Pulling:
        self._pulling = self._presence.pulling = pulling = Pulling(api_broker, self._settings, metrics=self._metrics)
        cluster = await api_broker.is_cluster()
        wakers = pulling.wakers(lambda: self._client(url, BLOCK_SECONDS + STORE_TIMEOUT), self._id, cluster=cluster)
        for waker in wakers:
            self._spawn("pull-waker", run_forever(waker))
        pulling.look_ahead(producer)
        return pulling

    def _start_listener(self, url: str, feed: EventPublisher) -> None:
        """For messages, of which a replica without a worker needs one kind alone."""
        handlers: dict[str, Callable[[str], None]] = {listening_channel(self._settings.prefix): feed.heard}
        if self._worker is not None:
            handlers[cancel_channel(self._settings.prefix)] = self._worker.on_cancel
        client = self._client(url, BLOCK_SECONDS + STORE_TIMEOUT)
        self._spawn("message-listener", run_forever(Subscriber(client, handlers, feed.ask)))

    async def _start_http(
        self,
        bound: socket.socket,
        url: str,
        broker: Broker,
        producer: Producer,
        credentials: Credentials,
        health: Health,
    ) -> None:
        """The listener and what it needs beside the others: those who wait, pull and follow."""
        settings = self._settings
        feed = self._feed or EventPublisher(broker)
        self._waiters = Waiters(broker, settings.waiters)
        self._spawn("waiters", run_forever(self._waiters))
        stream = EventStream(self._client(url, BLOCK_SECONDS + STORE_TIMEOUT), broker.shards.keys[0])
        self._followers = EventSubscribers(broker, stream, feed, settings.waiters)
        self._spawn("followers", run_forever(self._followers))
        pulling = await self._start_pulling(url, broker, producer)
        pulling.progress.on_reported = feed.progress
        siblings = self._context.siblings if self._context else Peers()
        self._stack.callback(siblings.close)
        app = create_app(
            settings,
            broker,
            producer,
            credentials,
            health,
            self._submission,
            self._waiters,
            pulling,
            self._followers,
            siblings,
            metrics=self._metrics,
        )
        await siblings.open()
        self._listener = Listener(app, bound, within_files(connection_limits(settings)))
        self._background.add(await self._listener.start())

    def _lease_broker(self, url: str) -> Broker:
        """On connections of the calling event loop: the lease keeper's thread has its own."""
        client = connect(url, timeout=store_timeout(self._settings.lease))
        return Broker(Shards(client, self._settings.shards, self._settings.prefix), self._scripts)

    def _start_maintenance(self, broker: Broker, watch: StoreWatch) -> None:
        settings = self._settings
        reaper = Reaper(broker, watch, settings.reap_interval, settings.reap_delay_max, metrics=self._metrics)
        self._spawn("reaper", run_forever(reaper))
        self._spawn("promoter", run_forever(Promoter(broker)))
        self._spawn("trimmer", run_forever(Trimmer(broker, caps(settings), settings.trim_interval)))

    def _start_heartbeat(self, broker: Broker) -> None:
        presence, interval = self._presence, self._settings.beat_interval
        heartbeat = Heartbeat(broker, self._id, presence.describe, interval, presence.quiet_here, presence.be_quiet)

        async def leave() -> None:
            try:
                await asyncio.wait_for(heartbeat.leave(), LEAVE_SECONDS)
            except (QueueyError, TimeoutError):
                logger.debug("left_without_word")  # it is forgotten after a minute

        self._stack.push_async_callback(leave)
        self._spawn("heartbeat", run_forever(heartbeat))

    def _max_attempts_of(self, job_type: str) -> int | None:
        handler = self._app.handlers.get(job_type)
        return handler.max_attempts if handler else None

    def _decoder_of(self, job_type: str) -> Decoder | None:
        handler = self._app.handlers.get(job_type)
        return handler.decode if handler else None

    # --- run ------------------------------------------------------------------------------------------------------

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._background.add(asyncio.create_task(coroutine, name=name))

    async def _wait(self, stop: asyncio.Event) -> bool:
        """Until `stop` is set (False) or a part ends, which none should (True). Raises its StartupError."""
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stopping, *self._background}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        failed = [task for task in done if task is not stopping]
        for task in failed:
            error = task.exception()
            if isinstance(error, StartupError):
                raise error
            logger.error("part_failed", part=task.get_name(), exc_info=error)
        return bool(failed)

    # --- stop -----------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """readyz red first, so that a balancer sends nothing more; then the jobs. HTTP answers until they are done.

        Who waits for a job is answered at once, with what it is by now."""
        if self._health is not None:
            self._health.draining = True
        if self._waiters is not None:
            self._waiters.close()
        if self._followers is not None:
            self._followers.close()
        running = len(self._worker.running) if self._worker else 0
        logger.info("draining", running=running, timeout=self._settings.drain_timeout)
        if self._listener is not None and self._signals.port_first:
            self._listener.close_port()
        if self._pulling is not None:
            self._pulling.leasing.drain()
        seen = asyncio.sleep(0 if self._listener is None or self._signals.port_first else self._settings.drain_delay)
        if self._worker is not None:
            await asyncio.gather(self._worker.drain(self._settings.drain_timeout), seen)
        else:
            await seen
        if self._listener is not None:
            await self._listener.stop()
        if self._pulling is not None:
            await self._pulling.leasing.close()
        if self._producer is not None:
            await self._producer.drain()
        if self._feed is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._feed.drain(), LEAVE_SECONDS)

    async def _leave_at_once(self) -> None:
        """A second signal: what runs is given back, and the store stopped, as far as that takes no time."""
        logger.warning("forced_exit")
        if self._worker is not None:
            await self._worker.abandon()
        await end_tasks(self._background)
        if self._embedded is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._embedded.stop(), LEAVE_SECONDS)
        os._exit(1)


def _log_event(event: str, fields: dict[str, object]) -> None:
    """What the embedded store reports, as log lines."""
    logger.info(event, **fields)

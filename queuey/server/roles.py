"""The parts of a server, by role: what every replica runs, the worker, and the reaper."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from msgspec.structs import replace

from queuey import log
from queuey.errors import QueueyError
from queuey.lifecycle import Part, Tasks
from queuey.metrics import Metrics
from queuey.server.limits import caps, store_timeout
from queuey.server.presence import Capacity, Presence
from queuey.server.store import ServerStore
from queuey.services.events.publisher import EventPublisher
from queuey.services.jobs.submission import Submission
from queuey.services.jobs.type_queues import TypeQueues
from queuey.services.leases.acks import Acks
from queuey.services.maintenance.feature_gate import FeatureGate
from queuey.services.maintenance.heartbeat import Heartbeat
from queuey.services.maintenance.loops import run_forever
from queuey.services.maintenance.lost_names import LostNames
from queuey.services.maintenance.promoter import Promoter
from queuey.services.maintenance.reaper import Reaper
from queuey.services.maintenance.shard_watch import ShardWatch
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.services.maintenance.trimmer import Trimmer
from queuey.services.maintenance.type_watch import TypeWatch
from queuey.services.maintenance.unknown_types import UnknownTypes
from queuey.services.other_apps import OtherApps, OwnApp
from queuey.services.reports.job_logs import LogRecorder
from queuey.services.reports.progress import ProgressRecorder
from queuey.services.schedules.firing.decisions import Decider
from queuey.services.schedules.firing.firer import Firer
from queuey.services.schedules.firing.zone_data import ZoneData
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.keys import asides_channel, cancel_channel, listening_channel, ticks_channel
from queuey.store.pubsub import Subscriber
from queuey.store.replies import Promoted
from queuey.store.selfcheck import Durability
from queuey.store.wakeups import Covering, Waker, wake_groups
from queuey.worker.executors.loop_watch import LoopWatch
from queuey.worker.executors.own_loop import execution_of
from queuey.worker.handlers.app import App
from queuey.worker.hooks.crashes import Crashes
from queuey.worker.lease_keeper import MAX_NAMED, StoreRenewer
from queuey.worker.settings import ExecutionSettings, WorkerSettings
from queuey.worker.store_source import ANSWER_AFTER, StoreSource
from queuey.worker.worker import Worker

ACK_SECONDS: Final = 120.0
"""Seconds for which a job's outcome is sent again: longer than a restart of the store takes."""
LOG_SECONDS: Final = 2.0
LEAVE_SECONDS: Final = 2.0
BUILTIN_APP: Final = "queuey.worker.handlers.builtin:app"
NOT_STORED: Final = "The store has not taken their outcomes until the end. Their leases expire, and they run again."

logger = log.get(__name__)


@dataclass(frozen=True, kw_only=True)
class Common:
    """The values that the parts of all roles share.

    `broker` is for calls that no HTTP request waits for, `api_broker` for those that one does.
    """

    settings: Settings
    replica: str
    tasks: Tasks
    metrics: Metrics
    store: ServerStore
    is_cluster: bool
    durability: Durability
    publisher: EventPublisher
    broker: Broker
    api_broker: Broker


class Watches(Part):
    """Watches the store and the event loop, in every role."""

    def __init__(self, common: Common, store_watch: StoreWatch) -> None:
        self._tasks = common.tasks
        self._store_watch = store_watch
        self._loop_watch = LoopWatch(common.settings.blocked_after, common.metrics)

    async def start(self) -> None:
        """Look at the store once, before anything is taken into it."""
        await self._store_watch.run_once()
        self._tasks.spawn("store-watch", run_forever(self._store_watch))
        self._loop_watch.start()
        self._tasks.spawn("loop-watch", run_forever(self._loop_watch))

    async def stop(self) -> None:
        """Watch no more."""
        self._loop_watch.stop()


class WorkerRole(Part):
    """Runs jobs in this process."""

    def __init__(self, common: Common, app: App) -> None:
        settings = common.settings
        self._common = common
        self._queues = settings.queue_names or app.queues
        self.capacity = Capacity(settings.concurrency, self._queues, app.handlers, app.name, app.queue_of)
        self.own_app = OwnApp(app.name, self._queues, app.handlers)
        execution = replace(ExecutionSettings.of(settings), json_depth=settings.json_depth)
        watch = LoopWatch(settings.blocked_after, common.metrics, "handlers")
        own_loop = settings.handler_loop == "own"
        self.execution = execution_of(app, settings.app or BUILTIN_APP, execution, own_loop, watch)
        own = WorkerSettings.of(settings, common.replica, self._queues)
        progress = ProgressRecorder(common.broker, common.publisher.progress)
        self._logs = LogRecorder(common.broker)
        acks = Acks(common.broker, ACK_SECONDS, answer_after=ANSWER_AFTER)
        source = StoreSource(
            common.broker, acks, progress, self._logs, own, metrics=common.metrics, events=app.hooks.events
        )
        self.worker = Worker(source, self.execution, own, metrics=common.metrics)

    @property
    def running(self) -> int:
        """Number of jobs that are held."""
        return len(self.worker.running)

    async def start(self) -> None:
        """Enter the App's lifespan, renew leases, and claim jobs."""
        common, worker = self._common, self.worker
        await self.execution.start()
        worker.keeper.start(self._open_renewer)
        common.tasks.spawn("worker", worker.run())
        changed = asyncio.Event()
        worker.asides.on_change = changed.set
        groups = wake_groups(common.broker.shards, cluster=common.is_cluster)
        wakers = [self._waker(group) for group in groups]
        for waker in wakers:
            common.tasks.spawn("waker", run_forever(waker))
        common.tasks.spawn("covering", run_forever(Covering(wakers, changed)))

    def _waker(self, group: Sequence[int]) -> Waker:
        common, worker = self._common, self.worker
        return Waker(
            common.store.blocking_client(),
            common.broker.shards,
            group,
            self._queues,
            worker.may_wait,
            worker.wake,
            worker.asides,
            common.replica,
        )

    def _open_renewer(self) -> StoreRenewer:
        """Called in the lease keeper's thread, which has an event loop of its own."""
        return StoreRenewer(self._common.store.foreign_broker(store_timeout(self._common.settings.lease)))

    async def drain(self) -> None:
        """Claim no more, and let the running jobs finish until the drain timeout."""
        await self.worker.drain(self._common.settings.drain_timeout)

    async def abandon(self) -> None:
        """Release the running jobs."""
        await self.worker.abandon()

    async def stop(self) -> None:
        """Send the last lines of jobs, end the lease keeper's thread, and leave the App's lifespan."""
        if left := sorted(self.worker.running):
            logger.error("outcomes_not_stored", jobs=len(left), job_ids=left[:MAX_NAMED], effect=NOT_STORED)
        try:
            await self._logs.finish(LOG_SECONDS)
            await self.worker.keeper.stop()
        finally:
            await self.execution.stop(abandon=True)


class Messages(Part):
    """Listens to the store's messages: whether a client follows events, which running jobs are cancelled, and which
    lists were set aside.

    `on_asides` are called with each message about lists set aside, `on_ticks` with each one about a schedule that has
    an earlier tick.
    """

    def __init__(
        self,
        common: Common,
        worker: Worker | None,
        on_asides: Sequence[Callable[[str], None]] = (),
        on_ticks: Callable[[str], None] | None = None,
    ) -> None:
        prefix = common.settings.prefix
        handlers: dict[str, Callable[[str], None]] = {listening_channel(prefix): common.publisher.subscribed}
        if on_asides:
            handlers[asides_channel(prefix)] = partial(_call_each, on_asides)
        if on_ticks is not None:
            handlers[ticks_channel(prefix)] = on_ticks
        if worker is not None:
            handlers[cancel_channel(prefix)] = worker.on_cancel
        self._tasks = common.tasks
        self._subscriber = Subscriber(common.store.blocking_client(), handlers, common.publisher.ask)

    async def start(self) -> None:
        """Subscribe."""
        self._tasks.spawn("message-listener", run_forever(self._subscriber))


def _call_each(functions: Sequence[Callable[[str], None]], message: str) -> None:
    for function in functions:
        function(message)


class ReaperRole(Part):
    """Ends expired leases, queues scheduled jobs, fires schedules, deletes old jobs, and buries those of a type that
    nobody knows.

    `submission` makes the jobs of schedules. `is_full`: whether the store takes no new jobs.
    """

    def __init__(
        self, common: Common, store_watch: StoreWatch, app: App, submission: Submission, is_full: Callable[[], bool]
    ) -> None:
        settings, broker = common.settings, common.broker
        self._common = common
        self._tasks = common.tasks
        self._store_watch = store_watch
        self._on_dead = Crashes(broker, app.handlers, app.hooks.events).report
        self._unknown_types = UnknownTypes(broker, settings.unknown_type_ttl)
        self.lost_names = LostNames(broker, 2 * settings.trim_interval)
        decider, metrics = Decider(submission), common.metrics
        self._firers = [
            Firer(broker, decider, shard, is_full=is_full, metrics=metrics) for shard in range(broker.shards.count)
        ]

    def hear_ticks(self, message: str) -> None:
        """Take a message that a schedule has an earlier tick: `<shard> <ms until then>`."""
        shard, _, in_ms = message.partition(" ")
        if shard.isdecimal() and in_ms.isdecimal() and int(shard) < len(self._firers):
            self._firers[int(shard)].expect(int(in_ms))

    def _expect_ticks(self, shard: int, promoted: Promoted) -> None:
        self._firers[shard].expect_ticks(promoted.tick_in_ms, ticks_wait=promoted.ticks_wait)

    async def start(self) -> None:
        """Run the chores, those of each shard by themselves, so that one that is silent holds up no other."""
        count = self._common.broker.shards.count
        self._common.metrics.reaped = dict.fromkeys(range(count), 0.0)
        for shard in range(count):
            self._start_on(shard, is_only_one=count == 1)
        self._tasks.spawn("lost-names", run_forever(self.lost_names))
        self._tasks.spawn("unknown-types", run_forever(self._unknown_types))

    def _start_on(self, shard: int, *, is_only_one: bool) -> None:
        settings, broker, metrics = self._common.settings, self._common.broker, self._common.metrics
        watch = None
        if not is_only_one:  # the store watch is for the only one
            watch = ShardWatch(broker, shard, settings.lease)
            self._tasks.spawn("shard-watch", run_forever(watch))
        reaper = Reaper(
            broker,
            self._store_watch,
            settings.reap_interval,
            settings.reap_delay_max,
            metrics=metrics,
            only=watch,
            on_dead=self._on_dead,
        )
        self._tasks.spawn("reaper", run_forever(reaper))
        firer = self._firers[shard]
        metrics.ticks_late[shard] = lambda: firer.late
        self._tasks.spawn("firer", run_forever(firer))
        self._tasks.spawn("zone-data", run_forever(ZoneData(broker, shard)))
        self._tasks.spawn("promoter", run_forever(Promoter(broker, only=shard, on_ticks=self._expect_ticks)))
        trimmer = Trimmer(broker, caps(settings), settings.trim_interval, only=shard)
        self._tasks.spawn("trimmer", run_forever(trimmer))


class TypeKnowledge(Part):
    """Learns where jobs go whose sender names no queue, in every replica that takes jobs over HTTP."""

    def __init__(self, common: Common, queues: TypeQueues) -> None:
        self._tasks = common.tasks
        self._watch = TypeWatch(common.broker, queues, common.settings.beat_interval)

    async def start(self) -> None:
        """Ask once before the first request, and then as often as replicas send heartbeats."""
        with suppress(QueueyError):  # it is tried again
            await self._watch.run_once()
        self._tasks.spawn("type-watch", run_forever(self._watch))


class Membership(Part):
    """Registers this replica and its workers in the store, and looks for Apps that get in the way of `own`.

    While a replica is there that does not know a feature in use, `lost_names` searches for what it loses.
    """

    def __init__(
        self, common: Common, presence: Presence, own: OwnApp | None, lost_names: LostNames | None = None
    ) -> None:
        self._tasks = common.tasks
        self._other_apps = OtherApps(common.broker, own) if own is not None else None
        gate = FeatureGate(common.broker, on_older=lost_names.search_again if lost_names else lambda: None)
        self._heartbeat = Heartbeat(
            common.broker,
            common.replica,
            presence.describe,
            common.settings.beat_interval,
            presence.quiet_here,
            presence.be_quiet,
            gate,
        )

    async def start(self) -> None:
        """Send heartbeats."""
        self._tasks.spawn("heartbeat", run_forever(self._heartbeat))
        if self._other_apps is not None:
            self._tasks.spawn("other-apps", run_forever(self._other_apps))

    async def stop(self) -> None:
        """Leave. When the store does not answer, the replica is forgotten after a minute."""
        try:
            await asyncio.wait_for(self._heartbeat.leave(), LEAVE_SECONDS)
        except (QueueyError, TimeoutError):
            logger.debug("left_without_word")

"""`queuey work`: running the handlers of an App for a remote server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import msgspec

from queuey import log, loops
from queuey.client import Client
from queuey.lifecycle import StopSignals, Tasks, done_before, freeze
from queuey.metrics import Metrics
from queuey.service_manager import READY, STOPPING, notify
from queuey.services.maintenance.loops import run_forever
from queuey.worker.executors.loop_watch import LoopWatch
from queuey.worker.executors.own_loop import execution_of
from queuey.worker.executors.running import run_to_end
from queuey.worker.handlers.app import load_app
from queuey.worker.remote.http_source import AppReport, HttpSource
from queuey.worker.remote.reports import Renewal
from queuey.worker.remote.schedules import HttpSyncing
from queuey.worker.schedules.starting import DeclaredSchedules
from queuey.worker.settings import RemoteSettings
from queuey.worker.worker import Worker

RETRY_FOR: Final = 1.0
"""Seconds in which a request is sent again. Claims and reports have loops of their own, which go on for longer."""

logger = log.get(__name__)


def work(settings: RemoteSettings) -> int:
    """Run the handlers of `settings.app` for the server, until SIGTERM, SIGINT or SIGHUP. Returns the exit code.

    Raises StartupError.
    """
    log.configure(settings.execution.log_level, settings.execution.log_format)
    with asyncio.Runner() as runner:
        return run_to_end(runner.get_loop(), _work(settings))


async def _work(settings: RemoteSettings) -> int:
    app = load_app(settings.app)
    signals = StopSignals()
    signals.install()
    own = msgspec.structs.replace(settings.worker, queues=settings.worker.queues or app.queues)
    metrics = Metrics(own.queues)
    watch = LoopWatch(settings.blocked_after, metrics, "handlers")
    execution = execution_of(app, settings.app, settings.execution, settings.own_loop, watch)
    await execution.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(execution.stop, abandon=True)
        client = await stack.enter_async_context(Client(settings.url, settings.api_key, retry_for=RETRY_FOR))
        app.sender = execution.reach(client)
        source = HttpSource(client, own, execution.wanted_wait, AppReport.of(app, own.queues), app.hooks.events)
        stack.push_async_callback(source.close)
        worker = Worker(source, execution, own, metrics=metrics)
        worker.keeper.start(lambda: Renewal(settings.url, settings.api_key, source.lease))
        stack.push_async_callback(worker.keeper.stop)
        watch, tasks = LoopWatch(settings.blocked_after, metrics), Tasks()
        watch.start()
        stack.callback(watch.stop)
        tasks.spawn("loop-watch", run_forever(watch))
        stack.push_async_callback(tasks.end)
        if settings.schedules != "off":
            declared = DeclaredSchedules(app, HttpSyncing(app, client, settings.schedules).run_once, settings.schedules)
            stack.push_async_callback(declared.stop)
            await declared.start()
        freeze()
        logger.info("started", url=settings.url, worker=own.name, queues=list(own.queues), types=sorted(app.handlers))
        notify(settings.notify_socket, READY)
        with loops.serving():
            in_order = await _serve(worker, source, signals, settings)
    logger.info("stopped", worker=own.name)
    return 0 if in_order else 1


async def _serve(worker: Worker, source: HttpSource, signals: StopSignals, settings: RemoteSettings) -> bool:
    """Run jobs until the first signal, and drain. Returns False when a second signal ended the drain early.

    Raises StartupError when the server refuses this worker.
    """
    failure = None
    try:
        await done_before(source.while_reporting(worker.run()), signals.first)
    except Exception as error:  # raised again below, after the jobs that run have ended
        failure = error
    logger.info("draining", running=len(worker.running), timeout=settings.drain_timeout)
    notify(settings.notify_socket, STOPPING)
    in_order = await done_before(worker.drain(settings.drain_timeout), signals.second)
    if not in_order:
        logger.warning("forced_exit")
        await worker.abandon()
    if failure is not None:
        raise failure
    return in_order

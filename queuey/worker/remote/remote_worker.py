"""`queuey work`: running the handlers of an App for a remote server."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from queuey import log
from queuey.client import Client
from queuey.lifecycle import StopSignals, done_before, freeze
from queuey.metrics import Metrics
from queuey.worker.execution import Execution
from queuey.worker.handlers.app import load_app
from queuey.worker.remote.http_source import AppReport, HttpSource
from queuey.worker.remote.reports import Renewal
from queuey.worker.settings import RemoteSettings
from queuey.worker.worker import Worker

logger = log.get(__name__)


def work(settings: RemoteSettings) -> int:
    """Run the handlers of `settings.app` for the server, until SIGTERM, SIGINT or SIGHUP. Returns the exit code.

    Raises StartupError.
    """
    log.configure(settings.execution.log_level, settings.execution.log_format)
    return asyncio.run(_work(settings))


async def _work(settings: RemoteSettings) -> int:
    app = load_app(settings.app)
    signals = StopSignals()
    signals.install()
    execution = Execution(app, settings.app, settings.execution)
    await execution.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(execution.stop, abandon=True)
        client = await stack.enter_async_context(Client(settings.url, settings.api_key))
        app.sender = client
        own = msgspec.structs.replace(settings.worker, queues=settings.worker.queues or app.queues)
        source = HttpSource(client, own, execution.wanted_wait, AppReport.of(app, own.queues))
        stack.push_async_callback(source.close)
        worker = Worker(source, execution, own, metrics=Metrics(own.queues, app.handlers))
        worker.keeper.start(lambda: Renewal(settings.url, settings.api_key, source.lease))
        stack.push_async_callback(worker.keeper.stop)
        freeze()
        logger.info("started", url=settings.url, worker=own.name, queues=list(own.queues), types=sorted(app.handlers))
        in_order = await _serve(worker, source, signals, settings.drain_timeout)
    logger.info("stopped", worker=own.name)
    return 0 if in_order else 1


async def _serve(worker: Worker, source: HttpSource, signals: StopSignals, drain_timeout: float) -> bool:
    """Run jobs until the first signal, and drain. Returns False when a second signal ended the drain early.

    Raises StartupError when the server refuses this worker.
    """
    failure = None
    try:
        await done_before(source.while_reporting(worker.run()), signals.first)
    except Exception as error:  # raised again below, after the jobs that run have ended
        failure = error
    logger.info("draining", running=len(worker.running), timeout=drain_timeout)
    in_order = await done_before(worker.drain(drain_timeout), signals.second)
    if not in_order:
        logger.warning("forced_exit")
        await worker.abandon()
    if failure is not None:
        raise failure
    return in_order

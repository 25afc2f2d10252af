"""`queuey doctor`: checks whether `queuey serve` would start with these settings, and how durable its store is.

Each check has one or more findings, and none stops the others, except that some need the store. It starts no replica
and registers nothing. The keys of the self-test are written and deleted again.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Final, Literal

from msgspec import Struct

from queuey.errors import QueueyError, StartupError, TooOld
from queuey.protocol.allowed import counted
from queuey.protocol.credentials import Credentials, redact_urls
from queuey.protocol.models import WorkerInfo
from queuey.server.http.ports import bind
from queuey.server.store import broker_of, opened
from queuey.services.maintenance.store_watch import FULL_ABOVE
from queuey.services.other_apps import ADVICE, OwnApp, clashes
from queuey.services.transfer.exporter import shards_of_jobs
from queuey.services.workers import known_features, list_workers
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import FEATURES
from queuey.store.broker.replicas import check_data
from queuey.store.deadline import Deadline
from queuey.store.embedded.process import find_binary
from queuey.store.replies import About
from queuey.store.selfcheck import StoreReport, check_store
from queuey.worker.handlers.app import App, load_app
from queuey.worker.schedules.outcome import unfit

CLOCK_TOLERANCE: Final = 1.0
"""Seconds by which the store's clock may differ. It decides when jobs are due; this machine's clock is in their ids."""
FREE_DISK: Final = 1_000_000_000
PROBE_SECONDS: Final = 2.0
STORE_SECONDS: Final = 5.0
MAX_NAMED: Final = 5
"""The maximum number of replicas in the text of a finding."""

Level = Literal["ok", "warn", "fail"]


class Finding(Struct, frozen=True):
    """One result. `text` says what was found and, unless it is ok, what to change."""

    level: Level
    subject: str
    text: str


async def examine(settings: Settings, complaint: str | None = None) -> AsyncIterator[Finding]:
    """Yield every finding as it is made. `complaint`: why `queuey serve` would not use the data directory."""
    for finding in (*_access(settings), *_app(settings)):
        yield finding
    if "api" in settings.roles:
        yield await asyncio.to_thread(_port, settings)
    if settings.redis is None:
        found = [Finding("fail", "store", complaint)] if complaint else list(_data_dir(settings))
        for finding in found:
            yield finding
        if any(finding.level == "fail" for finding in found) or not settings.data_dir.exists():
            return
    async for finding in _store(settings):
        yield finding


# --- this machine ------------------------------------------------------------------------------------------------


def _access(settings: Settings) -> Iterator[Finding]:
    credentials = Credentials(settings.api_key, settings.api_keys, settings.anonymous)
    try:
        warning = credentials.check_bind(settings.host)
    except StartupError as error:
        yield Finding("fail", "access", error.message.splitlines()[0] + " Make a key with `queuey key new`.")
        return
    if warning:
        yield Finding("warn", "access", f"{warning}. Make a key with `queuey key new`.")
    elif credentials.open:
        yield Finding("ok", "access", "no API key is set: open to this machine only")
    else:
        yield Finding("ok", "access", f"API keys are set; listens on {settings.host}")


def _app(settings: Settings) -> Iterator[Finding]:
    if "worker" not in settings.roles:
        return
    if settings.app is None:
        yield Finding("ok", "app", "no --app: the built-in text.reverse and math.square")
        return
    try:
        app = load_app(settings.app)
    except StartupError as error:
        yield Finding("fail", "app", error.message)
        return
    if not app.handlers:
        yield Finding("warn", "app", f"{settings.app} has no handlers: add some with @app.job.")
    else:
        yield Finding("ok", "app", f"{settings.app} runs {', '.join(sorted(app.handlers))}")
    if app.schedules and settings.schedules != "off":
        yield _schedules(app, settings.schedules)


def _schedules(app: App, policy: str) -> Finding:
    if fault := unfit(app, policy):
        return Finding("fail", "schedules", fault)
    return Finding("ok", "schedules", f"{app.name} declares {', '.join(sorted(app.schedules))}")


def _port(settings: Settings) -> Finding:
    where = f"{settings.host} port {settings.port}"
    try:
        with closing(bind(settings.host, settings.port)) as bound:
            bound.listen(1)
    except (StartupError, OSError) as error:
        if _is_queuey(settings.host, settings.port):
            return Finding("ok", "port", f"a Queuey server listens on {where} already")
        reason = error.message if isinstance(error, StartupError) else f"Cannot listen on {where}: {error}."
        return Finding("fail", "port", reason)
    return Finding("ok", "port", f"{where} is free")


def _is_queuey(host: str, port: int) -> bool:
    """Return whether /healthz answers there as ours does."""
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = json.loads(connection.getresponse().read(1000))
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(answer, dict) and answer.get("redis") in ("up", "down")


def _data_dir(settings: Settings) -> Iterator[Finding]:
    """Check what the private Valkey needs. A missing directory is not created."""
    try:
        find_binary()
    except StartupError as error:
        yield Finding("fail", "store", error.message)
        return
    place = settings.data_dir
    if not place.exists():
        above = next(folder for folder in place.parents if folder.exists())
        if not above.is_dir():
            yield Finding("fail", "store", f"{place} cannot be made: {above} is a file. Give another --data-dir.")
            return
        if not os.access(above, os.W_OK | os.X_OK):
            yield Finding("fail", "store", f"{place} cannot be made: {above} is not writable. Give another --data-dir.")
            return
        yield Finding("ok", "store", f"a private Valkey, to be started in {place}, which is not there yet")
        place = above
    free = shutil.disk_usage(place).free
    if free < FREE_DISK:
        yield Finding("warn", "disk", f"{free // 1_000_000:,} MB are free at {place}: make room for at least 1 GB.")
    else:
        yield Finding("ok", "disk", f"{free // 1_000_000_000:,} GB are free at {place}")


# --- the store ---------------------------------------------------------------------------------------------------


async def _store(settings: Settings) -> AsyncIterator[Finding]:
    try:
        async with opened(settings, timeout=STORE_SECONDS) as client:
            broker = broker_of(client, settings, 1)  # so that the self-test is first to find what is forbidden
            report = await check_store(client, broker.shards, broker.scripts, embedded=settings.redis is None)
            asked = time.time()
            about = await broker.replicas.store_info(0)
            jobs_in = 0 if about.data_format else await shards_of_jobs(broker, settings.shards)
            if (shards := about.shards or jobs_in or settings.shards) > 1:
                broker = broker_of(client, settings, shards)
                report = await check_store(client, broker.shards, broker.scripts, embedded=settings.redis is None)
            for finding in (
                _server(settings, report),
                *_durability(report),
                *_data(settings, about, jobs_in),
                _clock(about, asked),
            ):
                yield finding
            if about.data_format:
                yield await _features(broker)
            yield await _memory(broker)
            for finding in _other_apps(settings, await list_workers(broker, Deadline(STORE_SECONDS))):
                yield finding
    except QueueyError as error:
        yield Finding("fail", "store", redact_urls(error.message))


def _server(settings: Settings, report: StoreReport) -> Finding:
    where = redact_urls(settings.redis) if settings.redis else f"private, in {settings.data_dir}"
    text = f"{report.server.capitalize()} {report.version} ({where}) runs every command that is needed"
    return Finding("ok", "store", text)


def _durability(report: StoreReport) -> Iterator[Finding]:
    said = {
        "verified": "an acknowledged job is on disk",
        "declared": "the last acknowledged jobs may be lost in a power cut",
        "memory only": "acknowledged jobs are lost when the store stops",
    }
    level: Level = "ok" if report.durability == "verified" else "warn"
    yield Finding(level, "durability", f"{report.durability}: {said[report.durability]}")
    for warning in report.warnings:
        yield Finding("warn", "store", warning)


def _data(settings: Settings, about: About, jobs_in: int) -> Iterator[Finding]:
    """Say what the store holds. `jobs_in`: the number of shards of its jobs, if it has no record of it."""
    if jobs_in:
        text = (
            f"jobs in {counted(jobs_in, 'shard')}, but no record of that: the store was emptied while servers ran. A "
            f"server that runs writes it within {settings.beat_interval:g} s; if none runs, start one with "
            f"--shards {jobs_in}."
        )
        yield Finding("warn", "data", text)
        return
    if not about.data_format:
        yield Finding("ok", "data", f"nothing under the prefix {settings.prefix} yet")
        return
    try:
        check_data(about)
    except TooOld as error:
        yield Finding("fail", "data", error.message)
        return
    if about.shards != settings.shards:
        yield Finding(
            "fail",
            "shards",
            f"The store holds its jobs in {about.shards}: start with --shards {about.shards}, or "
            "export and import them.",
        )
    else:
        yield Finding("ok", "data", f"format {about.data_format}, {counted(about.shards, 'shard')}")


def _clock(about: About, now: float) -> Finding:
    ahead = about.now_ms / 1000 - now
    if abs(ahead) > CLOCK_TOLERANCE:
        direction = "ahead of" if ahead > 0 else "behind"
        return Finding(
            "warn", "clock", f"The store's clock is {abs(ahead):.1f} s {direction} this machine's: set both by NTP."
        )
    return Finding("ok", "clock", "the store's and this machine's agree")


async def _features(broker: Broker) -> Finding:
    """Say which features are open on every shard, and which replicas hold the others."""
    shards = [await broker.replicas.store_info(shard) for shard in range(broker.shards.count)]
    closed = [name for name in FEATURES if not all(name in about.features for about in shards)]
    if not closed:
        return Finding("ok", "features", f"{', '.join(FEATURES)}: open")
    older, replicas = [], (await broker.replicas.workers(0)).replicas
    for name, _, text in replicas:
        version, known = known_features(text)
        if not known.issuperset(closed):
            older.append(f"{name} (version {version})")
    what = f"{', '.join(closed)}: not open yet"
    they, them = ("it opens", "it") if len(closed) == 1 else ("they open", "them")
    if older:
        shown = ", ".join(sorted(older)[:MAX_NAMED]) + (", ..." if len(older) > MAX_NAMED else "")
        verb, those = ("does", "it") if len(older) == 1 else ("do", "these")
        text = f"{what}, since {shown} {verb} not know {them}: replace {those} by this version."
        return Finding("warn", "features", text)
    if not replicas:
        return Finding("ok", "features", f"{what}: {they} a minute after a server of this version has started")
    return Finding("ok", "features", f"{what}: {they} within a minute, or a minute after older replicas have left")


def _other_apps(settings: Settings, workers: list[WorkerInfo]) -> Iterator[Finding]:
    """Warn of each other App on the queues of that of --app. That this cannot be loaded was reported before."""
    if "worker" not in settings.roles or not settings.app:
        return
    try:
        app = load_app(settings.app)
    except StartupError:
        return
    for clash in clashes(OwnApp(app.name, settings.queue_names or app.queues, app.handlers), workers):
        yield Finding(
            "warn",
            "app",
            f"The App {clash.app} also serves {', '.join(clash.queues)}. It does not know "
            f"{', '.join(clash.only_here)}, and {app.name} does not know {', '.join(clash.only_there)}. {ADVICE}",
        )


async def _memory(broker: Broker) -> Finding:
    share = (await broker.vitals()).memory_share
    if share > FULL_ABOVE:
        return Finding(
            "warn",
            "memory",
            f"{share:.0%} of the store's memory is in use, and above {FULL_ABOVE:.0%} new jobs get a "
            "429: raise its maxmemory, or keep less (--retention, --dlq-retention).",
        )
    return Finding("ok", "memory", f"{share:.0%} of the store's limit is in use" if share else "the store has no limit")

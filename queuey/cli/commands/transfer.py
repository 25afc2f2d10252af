"""`queuey export` and `queuey import`: a store as a file, for a backup, another store, or another number of shards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec import structs
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from queuey.cli.exits import OK, explain
from queuey.errors import Full, SettingsError, StartupError, StoreError
from queuey.server.store import broker_of, opened
from queuey.services.transfer.exporter import Exporter, shards_of
from queuey.services.transfer.exporter import Progress as Told
from queuey.services.transfer.file_format import Whole, read_whole
from queuey.services.transfer.importer import Importer, shards_to_use
from queuey.settings.settings import Settings, load
from queuey.store.broker.broker import Broker
from queuey.store.selfcheck import check_store

Redis = Annotated[
    str | None,
    Parameter(name="--redis", metavar="URL", help="The Redis or Valkey. A password is better in QUEUEY_REDIS."),
]
DataDir = Annotated[
    str | None,
    Parameter(name="--data-dir", metavar="DIR", help="The data directory of a private Valkey, in use or not."),
]
Prefix = Annotated[str | None, Parameter(name="--prefix", metavar="PREFIX", help="The start of its keys.")]
Config = Annotated[str | None, Parameter(name="--config", metavar="FILE", help="TOML file with settings.")]
AGAIN = "What is done stays done; the same command goes on from there"


def export(
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], metavar="FILE", help="The file to write.")],
    resume: Annotated[bool, Parameter(negative=(), help="Go on with a file that was broken off.")] = False,
    redis: Redis = None,
    data_dir: DataDir = None,
    prefix: Prefix = None,
    config: Config = None,
) -> int:
    settings = _settings(config, redis, data_dir, prefix=prefix)
    if settings.redis is None and not settings.data_dir.is_dir():
        raise StartupError(f"There is no data directory {settings.data_dir}: give --data-dir or --redis.")
    counts = asyncio.run(_export(settings, output, resume))
    explain(f"{output} has {counts['job']} jobs, {counts['key']} dedupe keys and {counts['queue']} queues.")
    return OK


def import_(
    file: Annotated[Path, Parameter(help="What `queuey export` wrote.")],
    /,
    *,
    shards: Annotated[
        str | None,
        Parameter(metavar="N", help="Parts of the store. Default: as many as it has, else as many as in the file."),
    ] = None,
    merge: Annotated[bool, Parameter(negative=(), help="Also into a store that holds other jobs.")] = False,
    redis: Redis = None,
    data_dir: DataDir = None,
    prefix: Prefix = None,
    config: Config = None,
) -> int:
    settings = _settings(config, redis, data_dir, prefix=prefix, shards=shards)
    explain(f"Checking {file} ...")
    whole = read_whole(file)
    wanted = settings.shards if shards is not None or settings.shards > 1 else None
    result = asyncio.run(_import(settings, file, whole, wanted, merge))
    explain(f"{result['restored']} jobs restored, {result['there']} were there already.")
    return OK


def _settings(config: str | None, redis: str | None, data_dir: str | None, **others: str | None) -> Settings:
    """Of the two stores the one that a flag names wins over those of variables and the file."""
    if redis is not None and data_dir is not None:
        raise SettingsError("--redis and --data-dir are two stores: give one of them.")
    flags = {"redis": redis, "data_dir": data_dir, **others}
    settings = load({name: value for name, value in flags.items() if value is not None}, config=config)
    return settings if data_dir is None else structs.replace(settings, redis=None)


async def _export(settings: Settings, path: Path, resume: bool) -> dict[str, int]:
    try:
        async with opened(settings) as client:
            shards = await shards_of(broker_of(client, settings, 1))
            broker = broker_of(client, settings, shards)
            await _tell_who_works(broker, "each job is written as it is at one moment, and new ones may be missing.")
            with _bar("exported", await _jobs_in(broker)) as told:
                return await Exporter(broker, path, told).run(resume=resume)
    except StoreError as error:
        raise StartupError(f"{error.message} Then go on with --resume.") from error


async def _tell_who_works(broker: Broker, consequence: str) -> None:
    names = sorted(name for name, _, _ in (await broker.replicas.workers(0)).replicas)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if names[3:] else "")
        explain(f"queuey: at work on this store now: {shown}; {consequence}")


async def _jobs_in(broker: Broker) -> int:
    total = 0
    for shard in range(broker.shards.count):
        for row in (await broker.queues.stats(shard)).queues:
            total += row.high + row.default + row.low + row.scheduled + row.running + row.dead + row.finished
    return total


async def _import(settings: Settings, path: Path, whole: Whole, wanted: int | None, merge: bool) -> dict[str, int]:
    try:
        async with opened(settings) as client:
            about = await broker_of(client, settings, 1).replicas.store_info(0)
            broker = broker_of(client, settings, shards_to_use(wanted, about.shards, whole.header))
            report = await check_store(client, broker.shards, broker.scripts, embedded=settings.redis is None)
            for warning in report.warnings:
                explain(f"queuey: {warning}")
            await _tell_who_works(broker, "they run jobs while others are still to come, so out of their order.")
            with _bar("imported", whole.counts["job"]) as told:
                return await Importer(broker, path, whole, told).run(merge=merge)
    except (StoreError, Full) as error:
        raise StartupError(f"{error.message} {AGAIN}.") from error


@contextmanager
def _bar(done: str, total: int) -> Iterator[Told]:
    """A bar on stderr; where that is no terminal, it shows how far it came once, at the end."""
    columns = (TextColumn("{task.completed:,.0f} jobs {task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(done, total=total)

        def told(kind: str, more: int) -> None:
            if kind == "job":
                progress.advance(task, more)

        yield told

"""`queuey export` and `queuey import`: the store as a file, to back it up, move it or change the number of shards."""

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

from queuey.cli.default_store import settings_for_store
from queuey.cli.exits import OK, explain
from queuey.cli.options import switch
from queuey.errors import Full, SettingsError, StartupError, StoreError
from queuey.protocol.allowed import counted
from queuey.server.store import broker_of, opened
from queuey.services.transfer.exporter import Exporter, shards_of
from queuey.services.transfer.exporter import Progress as Advance
from queuey.services.transfer.file_format import Whole, read_whole
from queuey.services.transfer.importer import Importer, shards_to_use
from queuey.services.workers import live_replicas
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.embedded import moving
from queuey.store.selfcheck import check_store

Redis = Annotated[
    str | None,
    Parameter(
        name="--redis", metavar="URL", help="URL of the Redis or Valkey. With a password, set QUEUEY_REDIS instead."
    ),
]
DataDir = Annotated[
    str | None,
    Parameter(name="--data-dir", metavar="DIR", help="Data directory of the private Valkey, running or stopped."),
]
Prefix = Annotated[str | None, Parameter(name="--prefix", metavar="PREFIX", help="Prefix of every key in the store.")]
Config = Annotated[str | None, Parameter(name="--config", metavar="FILE", help="TOML file with settings.")]
CONTINUE = "Run the same command again to continue where it stopped"


def export(
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], metavar="FILE", help="File to write.")],
    resume: Annotated[bool, switch("Continue an interrupted export to the same file.")] = False,
    redis: Redis = None,
    data_dir: DataDir = None,
    prefix: Prefix = None,
    config: Config = None,
) -> int:
    """Write a store to a file. The help of this command is in `app`."""
    settings = _settings(config, redis, data_dir, prefix=prefix)
    if settings.redis is None and not settings.data_dir.is_dir():
        raise StartupError(f"There is no data directory {settings.data_dir}. Pass --data-dir or --redis.")
    counts = asyncio.run(_export(settings, output, resume))
    jobs, keys, queues = counts["job"], counts["key"], counts["queue"]
    also = f", {counted(schedules, 'schedule')}" if (schedules := counts.get("schedule", 0)) else ""
    explain(f"{output} has {counted(jobs, 'job')}{also}, {counted(keys, 'dedupe key')} and {counted(queues, 'queue')}.")
    return OK


def import_(
    file: Annotated[Path, Parameter(help="File written by `queuey export`.")],
    /,
    *,
    shards: Annotated[
        str | None,
        Parameter(metavar="N", help="Number of shards. Default: the store's, else the file's."),
    ] = None,
    merge: Annotated[bool, switch("Import into a store that already has jobs.")] = False,
    redis: Redis = None,
    data_dir: DataDir = None,
    prefix: Prefix = None,
    config: Config = None,
) -> int:
    """Read a file into a store. The help of this command is in `app`."""
    settings = _settings(config, redis, data_dir, prefix=prefix, shards=shards)
    explain(f"Checking {file} ...")
    whole = read_whole(file)
    wanted = settings.shards if shards is not None or settings.shards > 1 else None
    result = asyncio.run(_import(settings, file, whole, wanted, merge))
    explain(f"{counted(result['restored'], 'job')} restored, {result['there']:,} already existed.")
    return OK


def move_store(
    old: Annotated[Path, Parameter(help="Data directory of the private Valkey.")],
    new: Annotated[Path, Parameter(help="Path that it gets. It must not exist, or be an empty directory.")],
    /,
) -> int:
    """Move a data directory. The help of this command is in `app`."""
    asyncio.run(moving.move_store(old.absolute(), new.absolute()))
    explain(f"The store is now in {new}.")
    return OK


def _settings(config: str | None, redis: str | None, data_dir: str | None, **others: str | None) -> Settings:
    """Return the settings. A store that a flag names overrides those of variables and the file."""
    if redis is not None and data_dir is not None:
        raise SettingsError("--redis and --data-dir are two different stores. Pass only one of them.")
    flags = {"redis": redis, "data_dir": data_dir, **others}
    settings = settings_for_store({name: value for name, value in flags.items() if value is not None}, config)
    return settings if data_dir is None else structs.replace(settings, redis=None)


async def _export(settings: Settings, path: Path, resume: bool) -> dict[str, int]:
    try:
        async with opened(settings) as client:
            shards = await shards_of(broker_of(client, settings, 1), settings.shards)
            broker = broker_of(client, settings, shards)
            await _warn_of_servers(broker, "new jobs may be missing from the file.")
            with _bar("exported", await _jobs_in(broker)) as advance:
                return await Exporter(broker, path, advance).run(resume=resume)
    except StoreError as error:
        raise StartupError(f"{error.message} Then continue with --resume.") from error


async def _warn_of_servers(broker: Broker, consequence: str) -> None:
    names = await live_replicas(broker)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if names[3:] else "")
        explain(f"queuey: servers are using this store ({shown}): {consequence}")


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
            await _warn_of_servers(broker, "they will run jobs out of order. Stop them until the import is done.")
            with _bar("imported", whole.counts["job"]) as advance:
                return await Importer(broker, path, whole, advance).run(merge=merge)
    except (StoreError, Full) as error:
        raise StartupError(f"{error.message} {CONTINUE}.") from error


@contextmanager
def _bar(done: str, total: int) -> Iterator[Advance]:
    """Show a bar on stderr. If stderr is not a terminal, print the count once, at the end."""
    columns = (TextColumn("{task.completed:,.0f} jobs {task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(done, total=total)

        def advance(kind: str, more: int) -> None:
            if kind == "job":
                progress.advance(task, more)

        yield advance

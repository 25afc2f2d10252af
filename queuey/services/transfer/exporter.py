"""Writing the contents of a store to a file: `queuey export`.

The store may be in use. SCAN finds every job that is there from the beginning to the end of the export. Two jobs may be
read at different moments, and a job that came later may be missing. If no process uses the store, the export is exact.
Dedupe keys come first: the job that holds a key is then found later, unless it was trimmed.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from queuey.errors import FileRefused, SettingsError, StartupError
from queuey.protocol import ids
from queuey.protocol.allowed import counted
from queuey.protocol.models import PRIORITIES, Priority
from queuey.protocol.stored.schedules import RUNS_KEPT
from queuey.services.transfer.file_format import (
    COUNTED,
    PHASES,
    SCHEDULE_FORMAT,
    Checkpoint,
    End,
    Header,
    Lane,
    Line,
    Phase,
    Queue,
    ScheduleLine,
    counts_of,
    encode_line,
    from_job,
    from_key,
    kind_of,
    lines_from,
    read_header,
)
from queuey.services.transfer.lane_order import last_to_first
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import DATA_FORMAT
from queuey.store.broker.replicas import check_data
from queuey.store.shards import MAX_SHARDS
from queuey.version import __version__

DUMP_BATCH: Final = 256
LANE_PAGE: Final = 1000
SCHEDULE_PAGE: Final = 100

Progress = Callable[[str, int], None]
"""Called with a kind of line, and the number of such lines that were just written or read."""


class Written(Struct):
    """The progress of an export. `size`: the bytes up to the end of the last checkpoint or header."""

    header: Header
    counts: Counter[str]
    size: int
    at: Checkpoint | None
    whole: bool


def written_so_far(path: Path) -> Written:
    """Return the progress of the export that `--resume` continues. Raises FileRefused."""
    header = read_header(path)
    counts: Counter[str] = Counter()
    found = Written(header, Counter(), 0, None, False)
    for position, line in lines_from(path):
        if isinstance(line, (Header, Checkpoint)):
            at = line if isinstance(line, Checkpoint) else None
            found = Written(header, counts.copy(), position, at, False)
        elif isinstance(line, End):
            found.whole = True
        else:
            counts[kind_of(line)] += 1
    return found


class Exporter:
    """Writes one file. `progress` is called for every page."""

    def __init__(self, broker: Broker, path: Path, progress: Progress) -> None:
        self._broker = broker
        self._path = path
        self._progress = progress
        self._counts: Counter[str] = Counter()
        self._file: BinaryIO
        self._run_id = ""
        self._at: Checkpoint | None = None
        self._format = DATA_FORMAT

    async def run(self, *, resume: bool) -> dict[str, int]:
        """Write the file, or the rest of it. Returns the number of its lines by kind.

        Raises SettingsError, FileRefused, StartupError and StoreUnavailable.
        """
        self._run_id = (await self._broker.vitals()).run_id
        if await asyncio.to_thread(self._open, resume, await self._new_header()):
            return self._counted()
        try:
            await self._write_phases(self._at)
            about = await self._broker.replicas.store_info(0)
            self._write([End(self._counted(), about.now_ms)])
            await asyncio.to_thread(self._sync)
        except OSError as error:
            raise FileRefused(f"{self._path}: {error.strerror}. Make room, then continue with --resume.") from error
        finally:
            self._file.close()
        return self._counted()

    def _counted(self) -> dict[str, int]:
        return counts_of(self._counts)

    async def _new_header(self) -> Header:
        about = await self._broker.replicas.store_info(0)
        shards = self._broker.shards
        export_id = ids.short_random()
        self._format = SCHEDULE_FORMAT if await has_schedules(self._broker) else DATA_FORMAT
        return Header(self._format, export_id, shards.count, shards.prefix, __version__, about.now_ms, about.store_id)

    def _open(self, resume: bool, header: Header) -> bool:
        """Open the file for its next line. Returns True when it is complete already."""
        if resume and self._path.exists() and self._path.stat().st_size > 0:
            return self._reopen(header)
        exclusive = 0 if resume else os.O_EXCL
        try:
            self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | exclusive, 0o600), "wb")
            os.fchmod(self._file.fileno(), 0o600)
        except FileExistsError:
            raise SettingsError(
                f"{self._path} exists already. Continue it with --resume, or give another -o."
            ) from None
        except OSError as error:
            raise SettingsError(f"{self._path}: {error.strerror}.") from error
        self._write([header])
        self._file.flush()
        return False

    def _reopen(self, header: Header) -> bool:
        found = written_so_far(self._path)
        before = found.header
        if (before.shards, before.prefix) != (header.shards, header.prefix):
            raise SettingsError(
                f"{self._path} is an export of a store with {counted(before.shards, 'shard')} and the prefix "
                f"{before.prefix}, and this store has {header.shards} and {header.prefix}. Give the store of that "
                "export, or another -o."
            )
        if before.store_id and before.store_id != header.store_id:
            raise SettingsError(
                f"{self._path} is an export of another store, with the same number of shards and the same prefix. Give "
                "the store of that export, or another -o."
            )
        self._counts, self._format = found.counts, before.format
        for kind, count in found.counts.items():
            self._progress(kind, count)
        if not found.whole:
            self._file = self._path.open("r+b")
            self._file.truncate(found.size)
            self._file.seek(found.size)
            self._at = found.at
        return found.whole

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _write(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._file.write(encode_line(line))
            kind = kind_of(line)
            if kind in COUNTED:
                self._counts[kind] += 1
                self._progress(kind, 1)

    # --- the phases ---------------------------------------------------------------------------------------------

    async def _write_phases(self, at: Checkpoint | None) -> None:
        first = PHASES.index(at.phase) if at else 0
        if at is None:
            await self._write_queues()
        for phase in PHASES[first:]:
            begun = at is not None and at.phase == phase
            if begun and at is not None and at.cursor == 0:
                continue
            # The cursor of another run of the store may skip names, so this phase starts again.
            cursor = at.cursor if begun and at is not None and at.run_id == self._run_id else 0
            if phase == "lanes":
                await self._write_lanes()
                self._checkpoint(phase, 0)
            elif phase == "schedules":
                await self._write_schedules()
            else:
                await self._write_scanned(phase, cursor)

    def _checkpoint(self, phase: Phase, cursor: int) -> None:
        self._write([Checkpoint(phase, cursor, self._run_id)])
        self._file.flush()

    async def _write_queues(self) -> None:
        for shard in range(self._broker.shards.count):
            rows = (await self._broker.queues.stats(shard)).queues
            for row in rows:
                (head,) = await self._broker.queues.queue_status(shard, [row.name])
                self._write([Queue(shard, row.name, row.paused, head.paused_by, head.paused_at_ms)])

    async def _write_scanned(self, phase: Phase, cursor: int) -> None:
        """Write page by page until the store has listed all of its keys."""
        while True:
            cursor, names = await self._broker.scan("dedupe" if phase == "keys" else "job", cursor)
            by_shard: defaultdict[int, list[str]] = defaultdict(list)
            for shard, name in names:
                if shard < self._broker.shards.count:
                    by_shard[shard].append(name)
            for shard, found in by_shard.items():
                for first in range(0, len(found), DUMP_BATCH):
                    await self._write_dumped(phase, shard, found[first : first + DUMP_BATCH])
            if names or not cursor:
                self._checkpoint(phase, cursor)
            if not cursor:
                return

    async def _write_dumped(self, phase: Phase, shard: int, names: Sequence[str]) -> None:
        if phase == "keys":
            found = await self._broker.transfer.dump(shard, (), names)
            self._write(map(from_key, found.held))
            return
        while names:  # each call reads at least one
            found = await self._broker.transfer.dump(shard, names)
            self._write(map(from_job, found.jobs))
            names = names[found.looked_at :]

    async def _write_lanes(self) -> None:
        for shard in range(self._broker.shards.count):
            for row in (await self._broker.queues.stats(shard)).queues:
                asides = [type for type, _ in row.aside]
                for priority in PRIORITIES:
                    await self._write_lane(shard, row.name, priority, asides)

    async def _write_lane(self, shard: int, queue: str, priority: Priority, asides: Sequence[str]) -> None:
        """Write a lane with the lists that were set aside from it, page by page from its end."""
        page: list[str] = []
        written = 0
        async for job_id in last_to_first(self._broker, shard, queue, priority, asides, LANE_PAGE):
            page.append(job_id)
            if len(page) == LANE_PAGE:
                written += len(page)
                self._write([Lane(queue, priority, -written, page[::-1])])
                page.clear()
        if page:
            self._write([Lane(queue, priority, -written - len(page), page[::-1])])

    async def _write_schedules(self) -> None:
        """Write all schedules, if the header says that there are some."""
        if self._format < SCHEDULE_FORMAT:
            return
        for shard in range(self._broker.shards.count):
            after, ended = "", False
            while not ended:
                page, ended = await self._broker.schedules.list_schedules(shard, after, SCHEDULE_PAGE)
                names = [schedule.name for schedule in page]
                after = names[-1] if names else after
                while names:  # each call reads at least one
                    _, found = await self._broker.schedules.get_schedules(shard, names, RUNS_KEPT)
                    pairs = zip(names, found, strict=False)
                    self._write(ScheduleLine(name, record, runs) for name, (record, runs) in pairs if record)
                    names = names[len(found) :]
        self._checkpoint("schedules", 0)


async def has_schedules(broker: Broker) -> bool:
    """Return whether the store has any schedule."""
    shards = range(broker.shards.count)
    return any([(await broker.schedules.list_schedules(shard, count=1))[0] for shard in shards])


async def shards_of(broker: Broker, asked: int) -> int:
    """Return the number of shards. Raises StartupError when the store has no data of Queuey, or newer data.

    `asked`: the number that the settings say, for a store that was emptied and has no record of it yet.
    """
    about = await broker.replicas.store_info(0)
    if not about.data_format and (found := await shards_of_jobs(broker, asked)):
        return found
    if not about.data_format:
        raise StartupError(
            f"The store has no data of Queuey under the prefix {broker.shards.prefix}. Give the right --prefix, or "
            "another --redis or --data-dir."
        )
    check_data(about)
    return about.shards


async def shards_of_jobs(broker: Broker, asked: int) -> int:
    """Return a number of shards that fits all jobs of a store without a record of it: `asked` if that fits, or else
    the least one. It is 0 if there is no job.

    The store was emptied while servers ran, and the next heartbeat writes the record again."""
    places: set[tuple[int, int]] = set()
    cursor = 0
    while True:
        cursor, names = await broker.scan("job", cursor)
        places.update((shard, ids.bucket_of(job_id)) for shard, job_id in names if ids.is_id(job_id))
        if not cursor:
            break
    if not places:
        return 0
    fitting = [
        count for count in (asked, *range(1, MAX_SHARDS + 1)) if all(bucket % count == at for at, bucket in places)
    ]
    return fitting[0] if fitting else 1 + max(at for at, _ in places)  # servers with different numbers have written

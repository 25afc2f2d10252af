"""Reading an export file into a store: `queuey import`.

Ids keep their buckets, so in a store with another number of shards each job is on the shard where every replica looks
for it. Every step is safe to repeat: a job or key that exists already does not change. The store saves the progress of
the import, and the same command continues there.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from queuey.errors import StartupError
from queuey.protocol.allowed import counted
from queuey.services.transfer.exporter import has_schedules
from queuey.services.transfer.file_format import (
    Checkpoint,
    Header,
    JobLine,
    Key,
    Lane,
    Line,
    Queue,
    ScheduleLine,
    Whole,
    kind_of,
    lines_from,
    to_job,
)
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BYTES
from queuey.store.replies import DumpedJob, HeldKey

BATCH: Final = 256
LANE_BATCH: Final = 1000
PROMOTE_BATCH: Final = 500

Progress = Callable[[str, int], None]
Position = tuple[str, int]


def shards_to_use(wanted: int | None, stored: int, header: Header) -> int:
    """Return the number of shards to use: that of the store, or else the wanted one, or else that of the file.

    Raises StartupError when the store has another number than the wanted one.
    """
    if stored and wanted and stored != wanted:
        raise StartupError(
            f"The store has {counted(stored, 'shard')} already. Import with --shards {stored}, or into an empty store."
        )
    return stored or wanted or header.shards


class Importer:
    """Fills a store from a file that `read_whole` has checked. `progress` is called for every line."""

    def __init__(self, broker: Broker, path: Path, whole: Whole, progress: Progress) -> None:
        self._broker = broker
        self._path = path
        self._whole = whole
        self._progress = progress
        self._jobs: defaultdict[int, list[DumpedJob]] = defaultdict(list)
        self._bytes: Counter[int] = Counter()
        self._keys: defaultdict[int, list[HeldKey]] = defaultdict(list)
        self._answers: Counter[str] = Counter()

    async def run(self, *, merge: bool) -> dict[str, int]:
        """Restore everything that the store does not have yet. `merge`: also into a store that has other jobs.

        Returns the numbers of jobs that were `restored` and that were `there` already. Raises StartupError, Full and
        StoreUnavailable. Jobs that were restored stay, and another run continues.
        """
        offset = await self._begin(merge)
        for position, line in lines_from(self._path, offset):
            await self._take(line)
            self._progress(kind_of(line), 1)
            if isinstance(line, Checkpoint):
                await self._flush()
                await self._save_offset(position)
        await self._flush()
        await self._promote()
        await self._save_offset(self._whole.size)
        return {"restored": self._answers["ok"], "there": self._answers["there"]}

    # --- beginning and end --------------------------------------------------------------------------------------

    async def _begin(self, merge: bool) -> int:
        """Register with the store. Returns the offset of the first line to read."""
        about = await self._broker.replicas.store_info(0)
        if about.imported == self._whole.header.id:
            await self._broker.replicas.register()
            return max(about.import_offset, self._whole.start)
        if not merge and await self._holds_jobs():
            raise StartupError(
                "The store has jobs or schedules already that are not from this export. Import into an empty store, "
                "give another --prefix, or add --merge."
            )
        await self._broker.replicas.register()
        await self._save_offset(self._whole.start)
        return self._whole.start

    async def _holds_jobs(self) -> bool:
        shards = range(self._broker.shards.count)
        has_queues = any([(await self._broker.queues.stats(shard)).queues for shard in shards])
        return has_queues or await has_schedules(self._broker)

    async def _save_offset(self, offset: int) -> None:
        await self._broker.transfer.save_offset(0, self._whole.header.id, offset)

    async def _promote(self) -> None:
        """Move the ready jobs into their lanes, so that they count as ready at once. `restore` puts them elsewhere."""
        for shard in range(self._broker.shards.count):
            for _ in range(self._whole.counts["job"] + 1):
                if not (await self._broker.maintenance.promote(shard, PROMOTE_BATCH)).count:
                    break

    # --- lines --------------------------------------------------------------------------------------------------

    async def _take(self, line: Line) -> None:
        if isinstance(line, JobLine):
            await self._take_job(to_job(line))
        elif isinstance(line, Key):
            shard = self._broker.shards.of_job(line.job_id)
            self._keys[shard].append(HeldKey(line.key, line.job_id, line.until_ms))
            if len(self._keys[shard]) >= BATCH:
                await self._flush_keys(shard)
        elif isinstance(line, Lane):
            await self._flush()
            await self._arrange(line)
        elif isinstance(line, Queue) and line.paused:
            await self._pause(line)
        elif isinstance(line, ScheduleLine):
            await self._restore_schedule(line)

    async def _take_job(self, job: DumpedJob) -> None:
        shard = self._broker.shards.of_job(job.id)
        size = 100 + sum(len(text.encode()) for text in (job.definition, job.state, job.log, job.again))
        if self._jobs[shard] and (self._bytes[shard] + size > MAX_BYTES or len(self._jobs[shard]) >= BATCH):
            await self._flush_jobs(shard)
        self._jobs[shard].append(job)
        self._bytes[shard] += size

    async def _pause(self, queue: Queue) -> None:
        """Pause a queue on all shards, since its jobs may be on any shard if the number of shards differs."""
        for shard in range(self._broker.shards.count):
            answer = await self._broker.queues.pause(
                shard, queue.name, queue.paused, queue.paused_by, now=queue.paused_at_ms
            )
            if answer != "ok":
                raise _too_many_queues()

    async def _restore_schedule(self, line: ScheduleLine) -> None:
        shard = self._broker.shards.of_schedule(line.name)
        (answer,) = await self._broker.transfer.restore_schedules(shard, [(line.name, line.record, line.runs)])
        if answer == "too_many":
            raise StartupError("A shard of the store would have more than 10,000 schedules. Import with more --shards.")
        if answer == "closed":
            raise StartupError(
                "The store cannot hold schedules yet, since older versions of Queuey have used it. Stop them, start a "
                "server of this version, and run the same import again after a minute."
            )

    async def _arrange(self, lane: Lane) -> None:
        by_shard: defaultdict[int, list[Position]] = defaultdict(list)
        for place, job_id in enumerate(lane.ids, lane.first):
            by_shard[self._broker.shards.of_job(job_id)].append((job_id, place))
        for shard, positions in by_shard.items():
            for first in range(0, len(positions), LANE_BATCH):
                await self._broker.transfer.reorder(
                    shard, lane.queue, lane.priority, positions[first : first + LANE_BATCH]
                )

    # --- to the store -------------------------------------------------------------------------------------------

    async def _flush(self) -> None:
        """Restore the collected keys and jobs: keys first, so that a job that has ended since frees its key."""
        await asyncio.gather(*map(self._flush_keys, list(self._keys)))
        await asyncio.gather(*map(self._flush_jobs, list(self._jobs)))

    async def _flush_keys(self, shard: int) -> None:
        if keys := self._keys.pop(shard, []):
            await self._broker.transfer.restore(shard, (), keys)

    async def _flush_jobs(self, shard: int) -> None:
        jobs = self._jobs.pop(shard, [])
        del self._bytes[shard]
        if jobs:
            answers, _ = await self._broker.transfer.restore(shard, jobs)
            self._answers.update(answers)
            if "too_many_queues" in answers:
                raise _too_many_queues()


def _too_many_queues() -> StartupError:
    return StartupError("The store would have more than 256 queues. Import into another store.")

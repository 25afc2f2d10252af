"""The scripts of lua/jobs/ and lua/batches/: one job, lists of jobs, and items that are added to jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, Literal, cast

import msgspec
from msgspec import Struct

from queuey.protocol.records import NewJob, NewJobs, StoredJob, names_of, singly
from queuey.protocol.stored.items import MAX_BATCH_BYTES, NewItem
from queuey.protocol.stored.job_log import MAX_BYTES, MAX_LINES
from queuey.store.broker.calls import LOG_TTL_MS, Group, word, words
from queuey.store.broker.moves import MOVES
from queuey.store.keys import cancel_channel
from queuey.store.offers import Offer
from queuey.store.replies import Claimed, ClaimedJob, Listed, Page, Place, Placed

_answers = msgspec.msgpack.Decoder(str | list[str]).decode
_answers_or_taken = msgspec.msgpack.Decoder(str | list[str | int]).decode
_stored = msgspec.msgpack.Decoder(list[StoredJob]).decode
_listed = msgspec.msgpack.Decoder(list[Listed]).decode
_placed = msgspec.msgpack.Decoder(Placed).decode
_page = msgspec.msgpack.Decoder(Page).decode


class Filters(Struct, frozen=True):
    """The jobs that `list_jobs` looks for. The defaults allow any."""

    type: str = ""
    tag: str = ""
    key: str = ""
    """A dedupe key as base64url."""
    ages: tuple[int, int] = (-1, -1)
    """The least and the greatest time since a job was created, in ms, -1 for any."""
    in_job: Sequence[str] = ()
    """Texts, one of which is in the job, as the store has it."""
    in_error: Sequence[str] = ()
    """Texts, one of which is in an error of the job, as the store has it."""
    finished: tuple[int, int] = (-1, -1)
    """The time in ms from which, and the time before which a job has ended, -1 for any."""


NO_FILTERS: Final = Filters()


class Added(Struct, array_like=True, frozen=True):
    """The answer to an item. `items`: of the job by now; 0 if the job had the item, or if there is none."""

    answer: Literal["opened", "added", "there", "full", "too_many_queues"]
    job_id: str
    items: int


_added = msgspec.msgpack.Decoder(tuple[list[Added], list[str]]).decode


class JobCalls(Group):
    """Enqueues, reads, changes and lists jobs."""

    async def enqueue(
        self,
        shard: int,
        items: Sequence[NewJob | NewJobs],
        *,
        full: bool = False,
        copies: int = 0,
        offer: Offer | None = None,
        now: int = 0,
    ) -> list[str]:
        """Enqueue jobs, and reply with `new`, `duplicate <holder id>`, `full` or `too_many_queues` for each.

        A unique job may also get `closed`, or `rejected`, `replaced`, `follows` or `differs` with the holder's id.

        The replies are in the order of the jobs, those of a NewJobs in the order of its ids.

        `full`: accept no new job. `copies`: how many replicas of the store must have the jobs; with fewer it raises
        StoreUnavailable, and the jobs may be stored. `offer`: what an idle claimer would claim right behind
        this call. It gets the jobs that the call has claimed for it."""
        sent, count = _grouped(items)
        offered = () if offer is None else (offer.arguments(),)
        raw = await self._call(shard, "enqueue", now, full, sent, copies > 0, *offered, copies=copies)
        reply = _answers(raw) if offer is None else _read_taken(_answers_or_taken(raw), items, count, offer)
        answers = [reply] * count if isinstance(reply, str) else reply
        if self._observer.on:
            for job, answer in zip(_all(items), answers, strict=True):
                if answer in MOVES["enqueue"]:
                    type, queue = names_of(f"{job.head}\n{job.body[:1024]}")
                    self._observer.status(job.id, type, queue, "queued" if job.is_due else "scheduled", 0)
            for claimed in offer.claimed.jobs if offer is not None and offer.claimed is not None else ():
                self._observer.status(claimed.id, *names_of(claimed.definition), "running", claimed.attempt)
        return answers

    async def get(self, shard: int, job_ids: Sequence[str]) -> list[StoredJob]:
        """Read the record of each job. A missing job has an empty definition."""
        return _stored(await self._call(shard, "get", *job_ids))

    async def cancel(self, shard: int, job_ids: Sequence[str], *, now: int = 0) -> list[str]:
        """Cancel jobs, and reply with `cancelled`, `cancelling`, `finished` or `missing` for each."""
        channel = cancel_channel(self._shards.prefix)
        answers = words(await self._call(shard, "cancel", now, channel, job_ids))
        if self._observer.on:
            self._moved(job_ids, answers, MOVES["cancel"])
        return answers

    async def run_now(self, shard: int, request_id: str, job_ids: Sequence[str], *, now: int = 0) -> list[str]:
        """Make scheduled jobs due now. Replies with `ok`, `not_scheduled` or `missing` for each."""
        answers = words(await self._call(shard, "run_now", now, request_id, job_ids))
        if self._observer.on:
            self._moved(job_ids, answers, MOVES["run_now"])
        return answers

    async def set_payload(self, shard: int, job_id: str, body: str) -> str:
        """Replace the definition of a dead job by `body`, as JSON. Replies with `ok`, `wrong_state` or `missing`."""
        return word(await self._call(shard, "set_payload", job_id, body))

    async def delete(self, shard: int, job_ids: Sequence[str], *, now: int = 0) -> list[str]:
        """Delete finished and dead jobs. Replies with `ok`, `unfinished` or `missing` for each."""
        return words(await self._call(shard, "delete", now, job_ids))

    async def progress(
        self, shard: int, reports: Sequence[tuple[str, str, str]], ttl_ms: int = 3_600_000, *, now: int = 0
    ) -> list[str]:
        """Store reports: id, token and progress as JSON.

        Replies with the head of each job's definition, or '' when its lease is lost."""
        return words(await self._call(shard, "progress", now, ttl_ms, reports))

    async def keep_log(self, shard: int, items: Sequence[tuple[str, str, str]]) -> list[str]:
        """Keep the lines that attempts log: id, token, and all lines of the attempt (queuey.protocol.stored.job_log).

        Replies with `ok` or `lost` for each."""
        return words(await self._call(shard, "keep_log", LOG_TTL_MS, MAX_LINES, MAX_BYTES, items))

    async def get_log(self, shard: int, job_id: str) -> str:
        """Read the lines that the attempts of a job have logged, '' if there are none."""
        return word(await self._call(shard, "get_log", job_id))

    async def watch_end(self, shard: int, job_ids: Sequence[str]) -> list[str]:
        """Ask for a message at the end of each job. Replies with `waiting`, `finished` or `missing` for each."""
        return words(await self._call(shard, "watch_end", *job_ids))

    async def list_by_status(
        self,
        shard: int,
        place: Place,
        queue: str = "",
        lane: str = "",
        start: int = 0,
        count: int = 1000,
        aside: str = "",
    ) -> list[Listed]:
        """List the ids in one place, first to last. `queue` '' means all queues, for running, dead and finished.

        `aside`: of the lane, list what was set aside for this type."""
        return _listed(await self._call(shard, "list_by_status", place, queue, lane, start, count, aside or None))

    async def list_jobs(
        self,
        shard: int,
        places: Sequence[tuple[Place, str, str]],
        *,
        after: tuple[int, int, str] = (0, 0, ""),
        status: str = "",
        filters: Filters = NO_FILTERS,
        count: int = 50,
        look: int = 1000,
        now: int = 0,
    ) -> Page:
        """List the jobs of the places (place, queue, lane), one place after the other.

        `after`: offset, score and id of the last entry of the previous page, in the first place. `status`: a letter of
        the state. Reads at most `look` entries and places.
        """
        wanted, texts = filters, (filters.in_job, filters.in_error)
        by_key = (wanted.tag, wanted.key, (now, *wanted.ages), texts, wanted.finished)
        arguments = (places, after, wanted.type, status, count, look, *by_key)
        return _page(await self._call(shard, "list_jobs", *arguments))

    async def position(self, shard: int, queue: str, lane: str, job_id: str, *, look: int) -> Placed:
        """Find the place of a job among the first `look` entries of its lane, or of a list set aside from it."""
        return _placed(await self._call(shard, "position", queue, lane, job_id, look))


class BatchCalls(Group):
    """Adds items to batches."""

    async def add_items(
        self,
        shard: int,
        items: Sequence[NewItem],
        *,
        full: bool = False,
        copies: int = 0,
        max_bytes: int = MAX_BATCH_BYTES,
        now: int = 0,
    ) -> list[Added]:
        """Add items to the open batches of their names, and reply with `opened`, `added`, `there`, `full` or
        `too_many_queues` for each.

        `full` and `copies`: as for new jobs. `max_bytes`: of the definition of a job."""
        raw = await self._call(shard, "add_items", now, full, copies > 0, max_bytes, items, copies=copies)
        added, due = _added(raw)
        if self._observer.on:
            self._moved([each.job_id for each in added], [each.answer for each in added], MOVES["add_items"])
            for job_id in due:
                self._observer.moved(job_id, MOVES["promote"]["ids"])
        return added


_Group = tuple[str, str, str, list[str], list[str]]
"""Queue, priority, head, ids and bodies of jobs, as the script takes them."""


def _grouped(items: Sequence[NewJob | NewJobs]) -> tuple[list[NewJob | _Group], int]:
    """Return the items as the script takes them, and the number of jobs.

    Jobs become a group if they follow each other, have all but their ids and bodies in common, are due at once and
    have no dedupe keys."""
    sent: list[NewJob | _Group] = []
    count = 0
    queue = priority = head = ""
    ids: list[str] | None = None
    bodies: list[str] = []
    for item in items:
        if isinstance(item, NewJobs):
            sent.append((item.queue, item.priority, item.head, item.ids, item.bodies))
            count += len(item.ids)
            ids = None
            continue
        count += 1
        if item.dedupe or item.delay_ms or item.run_at_ms:
            sent.append(item)
            ids = None
        elif ids is None or item.head != head or item.queue != queue or item.priority != priority:
            queue, priority, head, ids, bodies = item.queue, item.priority, item.head, [item.id], [item.body]
            sent.append((queue, priority, head, ids, bodies))
        else:
            ids.append(item.id)
            bodies.append(item.body)
    return sent, count


def _read_taken(
    reply: str | list[str | int], items: Sequence[NewJob | NewJobs], count: int, offer: Offer
) -> str | list[str]:
    """Return the answers to the jobs. If the first of them were claimed for the offer, put them into it."""
    if isinstance(reply, str) or not isinstance(reply[0], int):
        return cast(str | list[str], reply)
    taken, now, due_in_ms = cast(list[int], reply)
    token = f"1.{offer.claim_id}"
    jobs = [
        ClaimedJob(job.id, token, 1, 0, f"r={now} {job.head}\n{job.body}" if job.head else f"r={now}\n{job.body}")
        for job in islice(_all(items), taken)
    ]
    offer.claimed = Claimed(jobs, due_in_ms, taken < count)
    return "new"


def _all(items: Sequence[NewJob | NewJobs]) -> Iterator[NewJob]:
    return (job for item in items for job in singly(item))

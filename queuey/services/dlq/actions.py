"""Operations on dead jobs: replay or delete them, or replace the payload of one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import Raw

from queuey.errors import Full, OutcomeUnknown, StoreUnavailable, WrongState
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.protocol.allowed import counted
from queuey.protocol.models import NULL, DeadReply, EditReply, Job
from queuey.protocol.records import parse_definition
from queuey.services.dlq.merge import Position, ShardMerge
from queuey.services.dlq.scan import DeadWalk, Filter
from queuey.services.jobs import actions as jobs
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH
from queuey.store.deadline import Deadline, outcome, unanswered
from queuey.store.replies import Listed

MAX_LOOKED_AT: Final = 1000
"""The maximum number of jobs that `replay_oldest` looks at, whether it replays or skips them."""
_PAGE: Final = 100

Visible = Callable[[str], bool]
"""Returns whether the caller may see the queue of this name."""
_encode = msgspec.json.Encoder().encode


class Batches:
    """Applies one operation to dead jobs, in batches by shard, until it has succeeded for `limit` of them.

    `call(shard, numbers)` applies it, and returns an answer for each job. `numbers` maps a job's id to its number among
    all added jobs, from 0. `good` are the answers that count as a success.
    """

    def __init__(
        self,
        broker: Broker,
        limit: int,
        call: Callable[[int, Mapping[str, int]], Awaitable[Sequence[str]]],
        good: Collection[str],
    ) -> None:
        self.done = 0
        self._shard_of = broker.shards.of_job
        self._limit = limit
        self._call = call
        self._good = good
        self._added = 0
        self._batch: dict[str, int] = {}

    async def add(self, job_id: str) -> bool:
        """Add a job, and send the batch when it is large enough. Returns whether more jobs are wanted.

        Raises Full; StoreUnavailable when neither this batch nor an earlier one changed a job; or else OutcomeUnknown.
        """
        self._batch[job_id] = self._added
        self._added += 1
        if self.done + len(self._batch) >= self._limit or len(self._batch) >= MAX_BATCH:
            await self.flush()
        return self.done < self._limit

    async def flush(self) -> None:
        """Send the remaining batches. Raises what `add` raises."""
        by_shard: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for job_id, number in self._batch.items():
            by_shard[self._shard_of(job_id)][job_id] = number
        self._batch = {}
        for shard, numbers in by_shard.items():
            try:
                answers = await self._call(shard, numbers)
            except StoreUnavailable as error:
                raise self.unless_untouched(error, list(numbers)) from error
            self.done += sum(answer in self._good for answer in answers)

    def unless_untouched(self, error: StoreUnavailable, job_ids: Sequence[str]) -> StoreUnavailable | OutcomeUnknown:
        """Return the error itself if no job was changed, or else OutcomeUnknown."""
        if self.done or error.maybe_done:
            return OutcomeUnknown(f"{unanswered(error)} {counted(self.done, 'job')} done before.", job_ids)
        return error


async def replay_oldest(broker: Broker, limit: int, deadline: Deadline, metrics: Metrics) -> int:
    """Replay up to `limit` dead jobs, oldest first over all shards and queues. Returns the number of replayed jobs.

    It has one short deadline for all of them, and includes jobs whose time of death is ahead of the store's clock.
    `replay_matching` does neither. A job whose dedupe key is held by another job stays dead and does not count. Raises
    Full when there was no room for any, StoreUnavailable when none was replayed, and OutcomeUnknown when some were or
    may have been.
    """
    replay_id = ids.short_random()  # one for all batches, so that sending one again is safe

    async def replay(shard: int, numbers: Mapping[str, int]) -> list[str]:
        answers = await deadline.call(broker.dlq.replay, shard, replay_id, list(numbers))
        metrics.replayed.add((), answers.count("ok"))
        return answers

    batches = Batches(broker, limit, replay, {"ok"})
    try:
        for job_id in await _oldest(broker, deadline):
            if not await batches.add(job_id):
                break
        await batches.flush()
    except Full:
        if not batches.done:
            raise
    return batches.done


async def _oldest(broker: Broker, deadline: Deadline) -> list[str]:
    """Return ids of dead jobs, oldest first. All pages are read before a replay, which would shift the later ones."""
    places: Counter[int] = Counter()

    async def read_page(shard: int, after: Position) -> tuple[Sequence[Listed], bool]:
        page = await deadline.call(broker.jobs.list_by_status, shard, "dead", start=places[shard], count=_PAGE)
        places[shard] += len(page)
        return page, len(page) < _PAGE

    dead = ShardMerge[Listed](lambda entry: (entry.score, entry.id), read_page)
    await dead.start(broker.shards.count)
    found: list[str] = []
    while dead.more and len(found) < MAX_LOOKED_AT:
        found.append((await dead.next()).id)
    return found


async def replay_matching(
    broker: Broker,
    wanted: Filter,
    visible: Visible,
    *,
    limit: int,
    dry_run: bool,
    rate: float | None,
    request_deadline: float,
    metrics: Metrics,
) -> DeadReply:
    """Replay up to `limit` of the jobs that match, the longest dead first. `rate`: jobs that become due each second.

    Raises Full when there was no room for any, StoreUnavailable when none was replayed, and OutcomeUnknown when some
    were or may have been.
    """
    replay_id = ids.short_random()

    async def replay(shard: int, numbers: Mapping[str, int]) -> list[str]:
        delays = [round(number * 1000 / rate) if rate else 0 for number in numbers.values()]
        call = Deadline(request_deadline).call
        answers = await call(broker.dlq.replay, shard, replay_id, list(numbers), delays)
        metrics.replayed.add((), answers.count("ok"))
        return answers

    walk = DeadWalk(broker, wanted, visible, request_deadline)
    return await _act(walk, limit, dry_run, Batches(broker, limit, replay, {"ok"}))


async def delete_matching(
    broker: Broker, wanted: Filter, visible: Visible, *, limit: int, dry_run: bool, request_deadline: float
) -> DeadReply:
    """Delete up to `limit` of the jobs that match, longest dead first. Raises StoreUnavailable or OutcomeUnknown."""

    async def delete(shard: int, numbers: Mapping[str, int]) -> list[str]:
        return await Deadline(request_deadline).call(broker.jobs.delete, shard, list(numbers))

    walk = DeadWalk(broker, wanted, visible, request_deadline)
    # A repeated call may find jobs missing that the first call has deleted.
    return await _act(walk, limit, dry_run, Batches(broker, limit, delete, {"ok", "missing"}))


async def _act(walk: DeadWalk, limit: int, dry_run: bool, batches: Batches) -> DeadReply:
    matched = 0
    try:
        async with aclosing(walk.found()) as entries:
            async for entry in entries:
                matched += 1
                if not (matched < limit if dry_run else await batches.add(entry.job.id)):
                    break
        await batches.flush()
    except Full:
        if not batches.done:
            raise
        return DeadReply(matched, batches.done, dry_run, True)
    except StoreUnavailable as error:
        if batches.done:  # because the walk could not continue
            raise batches.unless_untouched(error, []) from error
        raise
    return DeadReply(matched, batches.done, dry_run, walk.more)


async def edit_payload(
    broker: Broker, job: Job, payload: Raw, *, requeue: bool, deadline: Deadline, metrics: Metrics
) -> EditReply:
    """Replace the payload of a dead job, and with `requeue` retry the job.

    Raises NotFound, WrongState, Full, StoreUnavailable or OutcomeUnknown. When only the retry fails, WrongState or Full
    says that the payload was replaced.
    """
    shard = broker.shards.of_job(job.id)
    stored = (await deadline.call(broker.jobs.get, shard, [job.id]))[0]
    if not stored.definition:
        raise jobs.unknown_job(job.id)
    _, definition = parse_definition(stored.definition)
    definition.payload = NULL if bytes(payload) == b"null" else payload
    body = _encode(definition).decode()
    try:
        word = await deadline.call(broker.jobs.set_payload, shard, job.id, body)
    except StoreUnavailable as error:
        raise outcome(error, [job.id]) from error
    if word == "missing":
        raise jobs.unknown_job(job.id)
    if word == "wrong_state":
        raise WrongState("The job is not dead_letter. Only the payload of a dead_letter job can be replaced.")
    if requeue:
        try:
            await jobs.retry(broker, job, deadline, metrics)
        except (WrongState, Full) as error:
            raise type(error)(f"The payload was replaced, but the job was not retried. {error.message}") from error
    return EditReply(job.id, "queued" if requeue else "dead_letter")

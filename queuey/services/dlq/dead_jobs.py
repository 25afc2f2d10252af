"""The dead-letter queue by filters: listed, grouped by what jobs died of, replayed, deleted; and payloads mended."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Raw, Struct

from queuey.errors import Full, Invalid, OutcomeUnknown, ParameterFault, StoreUnavailable, WrongState
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.protocol.models import NULL, DeadGroup, DeadGroups, DeadLetter, DeadPage, DeadReply, EditReply, Job
from queuey.protocol.records import from_ms, parse_definition, to_job
from queuey.services.dlq.scan import DeadWalk, Filter, Found
from queuey.services.jobs import actions as jobs
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH
from queuey.store.deadline import Deadline, outcome

MAX_PAGE: Final = 500
MAX_PAGE_BYTES: Final = 4_000_000
"""Of definitions and states; a page ends with the job that passes it."""
MAX_GROUPS: Final = 1000
MAX_CURSOR: Final = 200

Visible = Callable[[str], bool]
_encode = msgspec.json.Encoder().encode


class _Cursor(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The last entry that a page looked at. `wanted`: a digest of the filters."""

    wanted: bytes
    died_at_ms: int
    id: str


# --- looking -------------------------------------------------------------------------------------------------------


async def list_dead(
    broker: Broker, wanted: Filter, visible: Visible, limit: int, cursor: str | None, request_deadline: float
) -> DeadPage:
    """Up to `limit` dead jobs (1 to 500) of queues for whose name `visible` holds.

    The page may be short and have a `next` all the same. Raises Invalid for a cursor that is not of this list, and
    StoreUnavailable.
    """
    start = _decode(cursor, wanted) if cursor is not None else (0, "")
    walk = DeadWalk(broker, wanted, visible, request_deadline, start)
    found: list[Found] = []
    size = 0
    async with aclosing(walk.found()) as entries:
        async for entry in entries:
            found.append(entry)
            size += entry.job.bytes
            if len(found) >= limit or size > MAX_PAGE_BYTES:
                break
    following = _cursor(wanted, *walk.at) if walk.more else None
    return DeadPage(await _read(broker, found, request_deadline), following)


async def group_dead(broker: Broker, wanted: Filter, visible: Visible, request_deadline: float) -> DeadGroups:
    """What the dead jobs died of. Raises StoreUnavailable."""
    walk = DeadWalk(broker, wanted, visible, request_deadline)
    groups: dict[str, DeadGroup] = {}
    async for entry in walk.found():
        died_at = from_ms(entry.job.died_at_ms)
        group = groups.get(entry.fingerprint)
        if group is None:
            cause = entry.cause
            group = DeadGroup(
                entry.fingerprint, entry.job.type, cause.kind, cause.message, 0, died_at, died_at, entry.job.id
            )
            groups[entry.fingerprint] = group
        group.count += 1
        group.newest, group.example, group.message = died_at, entry.job.id, entry.cause.message
    largest = sorted(groups.values(), key=lambda group: (-group.count, group.fingerprint))
    return DeadGroups(largest[:MAX_GROUPS], walk.looked, not walk.more and len(largest) <= MAX_GROUPS)


async def _read(broker: Broker, found: Sequence[Found], request_deadline: float) -> list[DeadLetter]:
    """The whole jobs, in their order; without those that have been replayed or removed since."""
    by_shard: defaultdict[int, list[str]] = defaultdict(list)
    for entry in found:
        by_shard[broker.shards.of_job(entry.job.id)].append(entry.job.id)
    read: dict[str, Job] = {}
    for shard, job_ids in by_shard.items():
        stored = await Deadline(request_deadline).call(partial(broker.jobs.get, shard, job_ids))
        for job_id, one in zip(job_ids, stored, strict=True):
            if one.definition:
                read[job_id] = to_job(job_id, one)
    return [
        DeadLetter(**msgspec.structs.asdict(read[entry.job.id]), fingerprint=entry.fingerprint)
        for entry in found
        if entry.job.id in read and read[entry.job.id].status == "dead_letter"
    ]


def _digest(wanted: Filter) -> bytes:
    return blake2b(msgspec.msgpack.encode(wanted), digest_size=8).digest()


def _cursor(wanted: Filter, died_at_ms: int, job_id: str) -> str:
    cursor = _Cursor(_digest(wanted), died_at_ms, job_id)
    return urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode().rstrip("=")


_decode_cursor = msgspec.msgpack.Decoder(_Cursor).decode


def _decode(text: str, wanted: Filter) -> tuple[int, str]:
    """Raises Invalid. What a forged cursor reaches is what its sender may see anyway."""
    detail = "is none of this server's; begin again without one"
    try:
        if len(text) > MAX_CURSOR:
            raise ValueError(detail)
        cursor = _decode_cursor(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not (0 <= cursor.died_at_ms < 2**48 and ids.is_id(cursor.id)):
            raise ValueError(detail)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise Invalid(f"cursor {detail}.", [ParameterFault("cursor", detail)]) from None
    if cursor.wanted != _digest(wanted):
        detail = "is that of another list; send it with the filters that it came with"
        raise Invalid(f"cursor {detail}.", [ParameterFault("cursor", detail)])
    return cursor.died_at_ms, cursor.id


# --- acting --------------------------------------------------------------------------------------------------------

Act = Callable[[Sequence[str]], Awaitable[int]]
"""Does something to dead jobs, and tells to how many."""


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
    """Give up to `limit` of them a new run, the longest dead first; at `rate` a second, if there is one.

    Raises Full when there was no room for any, StoreUnavailable when none was replayed, and OutcomeUnknown when some
    were or may have been.
    """
    replay_id, sent = ids.short_random(), 0

    async def replay(job_ids: Sequence[str]) -> int:
        nonlocal sent
        delays = {job_id: round((sent + i) * 1000 / rate) if rate else 0 for i, job_id in enumerate(job_ids)}
        sent += len(job_ids)

        async def on_shard(shard: int, some: list[str]) -> list[str]:
            delays_ms = [delays[job_id] for job_id in some]
            answers = await Deadline(request_deadline).call(
                lambda: broker.dlq.replay(shard, replay_id, some, delays_ms)
            )
            metrics.replayed.add((), answers.count("ok"))
            return answers

        return await _on_each_shard(broker, job_ids, on_shard, {"ok"})

    return await _act(DeadWalk(broker, wanted, visible, request_deadline), limit, dry_run, replay)


async def delete_matching(
    broker: Broker, wanted: Filter, visible: Visible, *, limit: int, dry_run: bool, request_deadline: float
) -> DeadReply:
    """Remove up to `limit` of them for good, the longest dead first. Raises StoreUnavailable or OutcomeUnknown."""

    async def delete(job_ids: Sequence[str]) -> int:
        return await _on_each_shard(
            broker,
            job_ids,
            lambda shard, some: Deadline(request_deadline).call(lambda: broker.jobs.delete(shard, some)),
            {"ok", "missing"},  # a call that was sent again finds them gone
        )

    return await _act(DeadWalk(broker, wanted, visible, request_deadline), limit, dry_run, delete)


async def _act(walk: DeadWalk, limit: int, dry_run: bool, act: Act) -> DeadReply:
    """Those that are skipped make room for later ones."""
    matched = done = 0
    batch: list[str] = []
    try:
        async with aclosing(walk.found()) as entries:
            async for entry in entries:
                matched += 1
                batch.append(entry.job.id)
                if dry_run:
                    if matched >= limit:
                        break
                elif done + len(batch) >= limit or len(batch) >= MAX_BATCH:
                    done += await act(batch)
                    batch = []
                    if done >= limit:
                        break
        if batch and not dry_run:
            done += await act(batch)
    except Full:
        if not done:
            raise
        return DeadReply(matched, done, dry_run, True)
    except StoreUnavailable as error:
        if done or (error.maybe_done and batch):
            raise OutcomeUnknown(f"{error.message} {done} jobs were done before.", batch) from error
        raise
    return DeadReply(matched, done, dry_run, walk.more)


async def _on_each_shard(
    broker: Broker,
    job_ids: Sequence[str],
    call: Callable[[int, list[str]], Awaitable[list[str]]],
    good: set[str],
) -> int:
    """How many answers of all shards are good."""
    by_shard: defaultdict[int, list[str]] = defaultdict(list)
    for job_id in job_ids:
        by_shard[broker.shards.of_job(job_id)].append(job_id)
    done = 0
    for shard, some in by_shard.items():
        done += sum(word in good for word in await call(shard, some))
    return done


async def edit_payload(
    broker: Broker, job: Job, payload: Raw, *, requeue: bool, deadline: Deadline, metrics: Metrics
) -> EditReply:
    """Another payload for a dead job, and with `requeue` a new run with it.

    Raises NotFound, WrongState, Full, StoreUnavailable or OutcomeUnknown. A WrongState or Full of the new run says that
    the payload was changed.
    """
    shard = broker.shards.of_job(job.id)
    stored = (await deadline.call(lambda: broker.jobs.get(shard, [job.id])))[0]
    if not stored.definition:
        raise jobs.unknown_job(job.id)
    _, definition = parse_definition(stored.definition)
    definition.payload = NULL if bytes(payload) == b"null" else payload
    body = _encode(definition).decode()
    try:
        word = await deadline.call(lambda: broker.jobs.set_payload(shard, job.id, body))
    except StoreUnavailable as error:
        raise outcome(error, [job.id]) from error
    if word == "missing":
        raise jobs.unknown_job(job.id)
    if word == "wrong_state":
        raise WrongState("The payload can be changed while the job is in the dead-letter queue, and it is not.")
    if requeue:
        try:
            await jobs.retry(broker, job, deadline, metrics)
        except (WrongState, Full) as error:
            raise type(error)(f"The payload was changed, but the job was not run anew. {error.message}") from error
    return EditReply(job.id, "queued" if requeue else "dead_letter")

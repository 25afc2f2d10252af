"""What the model expects the Broker to tell, and the store to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from queuey.protocol.models import PRIORITIES, Priority
from queuey.protocol.records import StoredJob, to_job
from queuey.store.broker.broker import Broker
from queuey.store.replies import Claimed, Listed, Place, QueueRow, Stats
from tests.properties.model.contents import Ask, Contents
from tests.properties.visible import Visible

Held = tuple[str, str]
"""An id and a token."""
HandedOut = tuple[str, str, int, int, str, str]
"""Of one claimed job: id, token, attempt, crashes, definition, checkpoint."""
ClaimAnswer = tuple[list[HandedOut], int, bool, bool, list[tuple[str, str]] | None]
"""The jobs, in how many ms the next one is due, whether there is more, whether it is repeated, names of lists."""
JobSeen = tuple[str, int, int, int, int, str, str]
"""What the get script says of one job: status, attempts, crashes, lease expiry, due time, worker, result."""


async def send_claim(broker: Broker, shard: int, ask: Ask, now: int) -> ClaimAnswer:
    claimed: Claimed = await broker.leases.claim(
        shard,
        claim_id=ask.claim_id,
        worker=ask.worker,
        lease_ms=ask.lease,
        limit=ask.limit,
        queues=ask.queues,
        max_starve_ms=ask.max_starve,
        suspects=ask.suspects,
        defer_ms=ask.defer,
        isolates=ask.isolates,
        wanted=ask.wanted,
        now=now,
    )
    jobs = [(job.id, job.token, job.attempt, job.crashes, job.definition, job.checkpoint) for job in claimed.jobs]
    told = None if claimed.asides is None else [*claimed.asides]
    return jobs, claimed.due_in_ms, claimed.more, claimed.repeated, told


def handed_out(model: Contents, job_ids: list[str], definitions: Mapping[str, str]) -> list[HandedOut]:
    jobs = [(job_id, model.jobs[job_id]) for job_id in job_ids]
    return [
        (job_id, job.token, job.attempts + 1, job.crashes, definitions[job_id], job.checkpoint) for job_id, job in jobs
    ]


def check_contents_agree(shown: Contents, model: Contents) -> None:
    """The store shows what the model holds. Part by part, so that a failure says which."""
    for part in fields(Contents):
        got, wanted = getattr(shown, part.name), getattr(model, part.name)
        if part.name in ("lanes", "asides", "names", "counters", "by_minute"):
            got, wanted = _without_empty(got), _without_empty(wanted)
        assert got == wanted, f"{part.name}: the store has {got}, the model {wanted}"


def _without_empty(part: Mapping[object, object]) -> dict[object, object]:
    return {key: value for key, value in part.items() if value}


async def check_get(broker: Broker, shard: int, model: Contents, unknown: str) -> None:
    """The get script, and what the HTTP API makes of it."""
    job_ids = list(model.jobs)
    *stored, missing = await broker.jobs.get(shard, [*job_ids, unknown])
    assert missing == StoredJob("", "", -1, -1)
    for job_id, found in zip(job_ids, stored, strict=True):
        job, told = model.jobs[job_id], to_job(job_id, found)
        statuses = {"waiting": "scheduled" if job_id in model.scheduled else "queued", "dead": "dead_letter"}
        got = (told.status, told.attempts, told.crashes, len(told.errors), found.lease_expires_ms, found.due_ms)
        wanted = (
            *(statuses.get(job.status, job.status), job.attempts, job.crashes, len(job.errors)),
            *(model.leases.get(job_id, -1), model.scheduled.get(job_id, -1)),
        )
        assert got == wanted, f"get tells {got} of {job_id}, the model {wanted}"


async def check_stats(broker: Broker, shard: int, model: Contents, seen: Visible, now: int) -> None:
    minutes = 60
    stats: Stats = await broker.queues.stats(shard, minutes, now=now)
    rows = sorted(stats.queues, key=lambda row: row.name)
    expected = [_row(model, queue, seen.sizes) for queue in sorted(model.queues)]
    assert rows == expected, f"stats tells {rows}, the model {expected}"
    lately = range(now // 60_000 - minutes, now // 60_000)
    wanted = [
        (name, total, sum(model.by_minute[minute, name] for minute in lately))
        for name, total in sorted(model.counters.items())
    ]
    assert sorted(stats.counters) == wanted, f"stats counts {stats.counters}, the model {wanted}"


def _row(model: Contents, queue: str, sizes: Mapping[str, int]) -> QueueRow:
    dead, done = model.of_queue(queue, model.dead), model.of_queue(queue, model.done)
    return QueueRow(
        queue,
        model.paused.get(queue, ""),
        high=len(model.claimable((queue, "high"))),
        default=len(model.claimable((queue, "default"))),
        low=len(model.claimable((queue, "low"))),
        scheduled=len(model.of_queue(queue, model.scheduled)),
        running=len(model.of_queue(queue, model.leases)),
        dead=len(dead),
        finished=len(done),
        dead_bytes=sum(sizes[job_id] for job_id in dead),
        finished_bytes=sum(sizes[job_id] for job_id in done),
        aside=_aside_counts(model, queue),
    )


def _aside_counts(model: Contents, queue: str) -> list[tuple[str, int]]:
    """The entries of the lists set aside by type, at most as many as the lane has jobs."""
    counts: dict[str, int] = {}
    for lane in PRIORITIES:
        jobs = len(model.claimable((queue, lane)))
        for _, _, kind in model.named_spots((queue, lane))[1:]:
            if count := min(jobs, len(model.asides[queue, lane, kind])):
                counts[kind] = counts.get(kind, 0) + count
    return [*counts.items()]


def listed(
    model: Contents, place: Place, queue: str, lane: Priority, start: int, count: int, aside: str
) -> list[Listed]:
    """What the list script should tell."""
    if place == "ready":
        entries = [Listed(job_id, 0, queue) for job_id in model.list_at((queue, lane, aside))]
    elif place == "scheduled":
        entries = [Listed(job_id, model.scheduled[job_id], queue) for job_id in model.of_lane((queue, lane))]
    else:
        scores = {"running": model.leases, "dead": model.dead, "finished": model.done}[place]
        found = sorted((score, job_id) for job_id, score in scores.items())
        entries = [Listed(job_id, score, model.jobs[job_id].queue) for score, job_id in found]
        entries = [entry for entry in entries if queue in ("", entry.queue)]
    return entries[start : start + count]

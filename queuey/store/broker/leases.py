"""The scripts of lua/leases/: claims, and the reports of lease holders."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from queuey.protocol.records import names_of
from queuey.store.asides import Wanted
from queuey.store.broker.calls import CLAIM_BYTES, Group, Held, Observer, SetAside, Unextended, words
from queuey.store.broker.moves import MOVES, Answers
from queuey.store.replies import Claimed, ClaimReply

Result = tuple[str, str, str]
"""A job's id, the token of its lease, and its result as JSON on one line ('' = none)."""
KeptValue = Result | tuple[str, str, str, int]
"""A job's id, the token of its lease, a checkpoint as a result is given, and its number among those of the lease."""
Failure = tuple[str, str, str, int, bool] | tuple[str, str, str, int, bool, bool]
"""A job's id, the token of its lease, the error as JSON on one line, the delay in ms, whether there is no further
attempt, and whether the job is snoozed."""

_completed = msgspec.msgpack.Decoder(str | list[str]).decode
_claimed = msgspec.msgpack.Decoder(ClaimReply).decode


class Results(Struct):
    """The results of jobs that have one token, from one claim."""

    token: str
    ids: list[str]
    results: list[str]


class LeaseCalls(Group):
    """Claims jobs, and sends the reports of lease holders."""

    async def claim(
        self,
        shard: int,
        *,
        claim_id: str,
        worker: str,
        lease_ms: int,
        limit: int,
        queues: Sequence[str],
        max_starve_ms: int = 300_000,
        suspects: int = 1,
        isolates: int | None = None,
        defer_ms: int = 1_000,
        wanted: Wanted | None = None,
        now: int = 0,
    ) -> Claimed:
        """Claim up to `limit` jobs.

        `suspects`: how many jobs with crashes it may take, 0 or 1, while no lists may be set aside.

        `isolates`: how many suspects the worker can run now, each in a child process of its own; None if it has none.
        Then it runs a suspect while it holds nothing else of the shard. ELSEWHERE: it has none, and holds jobs of other
        shards.

        `wanted`: which jobs, and from which lists set aside. Without it, the claim takes jobs of every type, unless a
        queue has lists set aside: then it claims nothing and replies with their names in `asides`."""
        bounds = (max_starve_ms, suspects, defer_ms, CLAIM_BYTES, self._observer.on, isolates)
        claim = (now, claim_id, worker, lease_ms, limit, queues, *bounds)
        if wanted is None:
            reply = await self._call(shard, "claim", *claim)
        else:
            terms = (wanted.room, wanted.others, wanted.take, wanted.woken)
            reply = await self._call(shard, "claim_typed", *claim, *terms)
        claimed = _claimed(reply).claimed(claim_id)
        if self._observer.on:
            _report_claimed(self._observer, claimed, MOVES["claim"])
        return claimed

    async def extend(
        self, shard: int, lease_ms: int, held: Sequence[Held | tuple[str, str, int]], *, now: int = 0
    ) -> list[str]:
        """Extend each lease by the ms in the third field of its item, or by `lease_ms` if it has no such field.

        Replies with `ok`, `lost` or `cancelled` for each; a cancelled job is extended, but must stop."""
        return words(await self._call(shard, "extend", now, lease_ms, held))

    async def checkpoint(self, shard: int, items: Sequence[KeptValue], *, now: int = 0) -> list[str]:
        """Keep values with jobs for their next attempts; '' = none any more. Replies with `ok` or `lost` for each.

        A value that comes after one with a higher number is `ok` and changes nothing."""
        return words(await self._call(shard, "checkpoint", now, items))

    async def complete(self, shard: int, items: Sequence[Result | Results], *, now: int = 0) -> list[str]:
        """Complete jobs. Replies with `ok` or `lost` for each, in the order of the jobs."""
        reply = _completed(await self._call(shard, "complete", now, _by_token(items)))
        if isinstance(reply, str):
            answers = [reply] * sum(len(item.ids) if isinstance(item, Results) else 1 for item in items)
        else:
            answers = _in_order(items, reply)
        if self._observer.on:
            self._moved([result[0] for item in items for result in _each(item)], answers, MOVES["complete"])
        return answers

    async def fail(self, shard: int, failures: Sequence[Failure], *, now: int = 0) -> list[str]:
        """Fail attempts, or snooze their jobs. Replies with `retry`, `snoozed`, `dead`, `cancelled` or `lost` for each.

        A job that has been snoozed 1,000 times in this run is dead instead, with the error of the item."""
        answers = words(await self._call(shard, "fail", now, failures))
        if self._observer.on:
            self._moved([item[0] for item in failures], answers, MOVES["fail"])
        return answers

    async def release(self, shard: int, held: Sequence[Held | Unextended | SetAside], *, now: int = 0) -> list[str]:
        """Release jobs, so that the first is the first in its lane. Replies with `ok` or `lost` for each.

        A job whose type has a list set aside becomes the first of that list, and so does each SetAside."""
        answers = words(await self._call(shard, "release", now, held))
        if self._observer.on:
            self._moved([item[0] for item in held], answers, MOVES["release"])
        return answers


def _report_claimed(observer: Observer, claimed: Claimed, moves: Answers) -> None:
    """Report the moves of each job in their order: it comes due first, then it expires or runs."""
    came_due = dict.fromkeys(claimed.promoted)
    for job in claimed.jobs:
        if job.id in came_due:
            del came_due[job.id]
            observer.status(job.id, *names_of(job.definition), "queued", job.attempt - 1)
        observer.status(job.id, *names_of(job.definition), "running", job.attempt)
    for job_id in came_due:
        observer.moved(job_id, moves["promoted"])
    for job_id in claimed.expired:
        observer.moved(job_id, moves["expired"])


def _by_token(items: Sequence[Result | Results]) -> list[tuple[str, list[str], list[str] | None]]:
    """Return the jobs of each token as the script takes them: token, ids and results, None if no job has one."""
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for item in items:
        if isinstance(item, Results):
            ids, results = groups.setdefault(item.token, ([], []))
            ids += item.ids
            results += item.results
            continue
        job_id, token, result = item
        group = groups.get(token)
        if group is None:
            groups[token] = ([job_id], [result])
        else:
            group[0].append(job_id)
            group[1].append(result)
    return [(token, ids, results if any(results) else None) for token, (ids, results) in groups.items()]


def _in_order(items: Sequence[Result | Results], answers: list[str]) -> list[str]:
    """Return the answers, which came in the order of _by_token, in the order of the jobs."""
    tokens = [token for item in items for _, token, _ in _each(item)]
    ranks = {token: rank for rank, token in enumerate(dict.fromkeys(tokens))}
    ordered = [""] * len(tokens)
    for place, answer in zip(sorted(range(len(tokens)), key=lambda i: ranks[tokens[i]]), answers, strict=True):
        ordered[place] = answer
    return ordered


def _each(item: Result | Results) -> Sequence[Result]:
    if isinstance(item, Results):
        return [(job_id, item.token, result) for job_id, result in zip(item.ids, item.results, strict=True)]
    return (item,)

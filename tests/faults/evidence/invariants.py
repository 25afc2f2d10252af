"""The invariants of the design, held against the store and the ledger once a round has come to rest.

Each check yields what it found wrong, with the ids and what was seen. The numbers are the design's; 0 is for what must
hold beside them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

from queuey.protocol.records import DEFAULT_DEDUPE_TTL_MS
from tests.faults.evidence import crashes, items, ticks, unique
from tests.faults.evidence.history import History, JobHistory
from tests.faults.store.view import LISTS, TERMINAL, StoredJob, StoreView

SLACK_MS: Final = 50
"""Between two readings of the clock within one call of a script, and for rounding."""
NS: Final = 1_000_000


class Violation(NamedTuple):
    invariant: int
    message: str


@dataclass
class Rest:
    """How a round came to rest. Seconds since the healing; `late`: what was not terminal at the bound."""

    seconds: float
    bound: float
    late: list[str] = field(default_factory=list)


@dataclass
class Evidence:
    """All that the checks look at."""

    history: History
    view: StoreView
    rest: Rest
    lease: float
    clock_moved: bool = False
    """The store's clock was set in this round: times of its records say nothing about the order of events."""

    def __post_init__(self) -> None:
        self.history.adopt(self.view.jobs)

    def pairs(self) -> Iterator[tuple[str, JobHistory, StoredJob]]:
        """The jobs that are both in the ledger and in the store."""
        for job_id, job in self.history.jobs.items():
            if (stored := self.view.jobs.get(job_id)) is not None:
                yield job_id, job, stored


Check = Callable[[Evidence], Iterator[str]]


def one_terminal_state(evidence: Evidence) -> Iterator[str]:
    """1. Every acknowledged job reaches exactly one terminal state per run."""
    for job_id in sorted(evidence.history.must_exist()):
        found = evidence.view.jobs.get(job_id)
        if found is None:
            yield f"{job_id} was acknowledged and is not in the store"
        elif found.status not in TERMINAL:
            yield f"{job_id} was acknowledged and is {found.status} ({found.state})"
    for job_id, job, stored in evidence.pairs():
        yield from (f"{job_id} {fault}" for fault in _wrong_end(job, stored))
        yield from (f"{job_id} {fault}" for fault in _changed_its_end(job, stored))


def _wrong_end(job: JobHistory, stored: StoredJob) -> Iterator[str]:
    """What the deed makes of the job, the cancels and the crashes aside."""
    status, attempts = stored.status, stored.number("a")
    if status == "cancelled":
        if not job.maybe_cancelled:
            yield "is cancelled and nobody cancelled it"
        return
    if job.cancel_said("cancelled"):
        yield f"was cancelled, as a reply said, and is {status}"
    if status == "succeeded":
        if attempts != job.deed.fails:
            yield f"succeeded after {attempts} failed attempts and not after {job.deed.fails}"
        if not job.ended("ok"):
            yield "succeeded and no handler came to its end"
    elif status == "dead_letter" and attempts < job.max_attempts and not crashes.may_be_dead(job, stored):
        spent = f"{attempts} of {job.max_attempts} attempts and {stored.number('x')} crashes"
        yield f"is dead after {spent}, its errors are {stored.kinds}"
    if status == "dead_letter" and job.cancel_said("cancelling") and not stored.state.get("y"):
        yield "was flagged for cancel, as a reply said, and is dead"


def _changed_its_end(job: JobHistory, stored: StoredJob) -> Iterator[str]:
    """A terminal state that a client saw stays, unless the job was replayed."""
    acknowledged_at = job.acknowledged_at
    final = datetime.fromtimestamp(stored.number("f") / 1000, UTC)
    for seen in job.seen:
        if seen.status == "missing" and acknowledged_at is not None and acknowledged_at < seen.asked_at:
            yield "was acknowledged and then answered with 404"
        if seen.status not in TERMINAL or (seen.status == "dead_letter" and stored.state.get("y")):
            continue
        if seen.status != stored.status or datetime.fromisoformat(seen.finished_at) != final:
            now = f"{stored.status}, finished at {final.isoformat()}"
            yield f"was seen as {seen.status}, finished at {seen.finished_at}, and is {now}"


def one_terminal_transition(evidence: Evidence) -> Iterator[str]:
    """2. One accepted terminal transition per run."""
    counters = Counter(evidence.view.counters)
    runs = counters["enqueued"] + counters["replayed"]
    ends = counters["succeeded"] + counters["dead"] + counters["cancelled"]
    if ends != runs and not evidence.view.unfinished():
        yield f"{runs} runs were begun and {ends} ended: {dict(counters)}"
    claims = sum(job.number("n") for job in evidence.view.jobs.values())
    if counters["claimed"] != claims:
        yield f"{counters['claimed']} claims were counted, and the jobs have {claims}"
    for job_id, job, stored in evidence.pairs():
        if stored.status != "succeeded":
            continue
        accepted, by = stored.state.get("p", ""), (stored.result or {}).get("token")
        if by != accepted:
            yield f"{job_id} succeeded by the token {accepted} with the result of {by}"
        elif accepted not in {end.token for end in job.ended("ok")}:
            yield f"{job_id} succeeded by the token {accepted}, whose handler did not come to its end"
    acknowledged = sum(int(call.answer.said) for call in evidence.history.replays if call.answer and call.answer.said)
    uncertain = any(call.outcome == "unknown" for call in evidence.history.replays)
    retries = sum(call.outcome != "fail" for job in evidence.history.jobs.values() for call in job.retries)
    if not acknowledged <= counters["replayed"] <= acknowledged + retries and not (
        uncertain and counters["replayed"] > acknowledged
    ):
        counted = f"{counters['replayed']} counted, with up to {retries} by retries"
        yield f"{acknowledged} replays were acknowledged and {counted}"


def within_limits(evidence: Evidence) -> Iterator[str]:
    """3. attempts <= max_attempts, crashes <= 10, and none more for a job that was proven to be the cause."""
    for job_id, job, stored in evidence.pairs():
        if stored.number("a") > job.max_attempts:
            yield f"{job_id} has {stored.number('a')} of {job.max_attempts} attempts"
        if stored.number("x") > crashes.MOST:
            yield f"{job_id} has {stored.number('x')} crashes"
        if crashes.was_spared(stored):
            yield f"{job_id} was proven to be a poison job, and went on: it is {stored.status} after {stored.kinds}"
        for start in job.starts:
            if not 1 <= start.attempt <= job.max_attempts:
                yield f"{job_id} was given to a handler as attempt {start.attempt} of {job.max_attempts}"


def one_valid_token(evidence: Evidence) -> Iterator[str]:
    """4. At most one valid token per job; stale ones are refused."""
    for job_id, job, stored in evidence.pairs():
        tokens = sorted({start.token for start in job.starts}, key=lambda token: (_claim_number(token), token))
        for one, other in pairwise(tokens):
            if _claim_number(one) == _claim_number(other):
                yield f"{job_id} was claimed once and has two tokens, {one} and {other}"
        if tokens and _claim_number(tokens[-1]) > stored.number("n"):
            yield f"{job_id} ran with the token {tokens[-1]} and the store knows of {stored.number('n')} claims"
        for token, times in Counter(start.token for start in job.starts).items():
            if times > 1:
                yield f"{job_id} was begun {times} times with the token {token}"
        if stored.status in TERMINAL and stored.state.get("h"):
            yield f"{job_id} is {stored.status} and still has a token"


def _claim_number(token: str) -> int:
    return int(token.partition(".")[0])


def one_job_per_key(evidence: Evidence) -> Iterator[str]:
    """5. At most one live job per dedupe key within its TTL, and one unfinished one per unique key; both free
    themselves."""
    yield from unique.one_unfinished_job_per_key(evidence)
    by_key = defaultdict(list)
    for job_id, job, stored in evidence.pairs():
        if job.key:
            by_key[job.key].append((stored.created_at, job_id, stored))
    if not evidence.clock_moved:
        for key, holders in by_key.items():
            yield from _overlaps(key, sorted(holders, key=lambda holder: holder[:2]))
    for encoded, (holder, ttl) in evidence.view.dedupe.items():
        if encoded.startswith(items.REMEMBERED):
            continue
        stored_holder = evidence.view.jobs.get(holder)
        if stored_holder is None or stored_holder.head.get("k") != encoded:
            yield f"the key {encoded} is held by {holder}, which is not a job of that key"
        elif stored_holder.status in ("dead_letter", "cancelled") or (
            encoded.startswith("u:") and stored_holder.status == "succeeded"
        ):
            yield f"the key {encoded} is held by {holder}, which is {stored_holder.status}"
        elif not 0 <= ttl <= _ttl(stored_holder):
            yield f"the key {encoded} of {holder} is kept for {ttl} ms, of {_ttl(stored_holder)}"
    for job_id, job in evidence.history.jobs.items():
        for answer in (call.answer for call in job.enqueues if call.answer and call.answer.deduplicated):
            holder_job = evidence.history.jobs.get(answer.said)
            if holder_job is None or holder_job.keys != job.keys or not any(job.keys):
                yield f"{job_id} was answered with {answer.said}, which has not its key {job.keys}"


def _overlaps(key: str, holders: list[tuple[int, str, StoredJob]]) -> Iterator[str]:
    for place, (created, job_id, stored) in enumerate(holders):
        if stored.state.get("y"):
            continue  # when it was free between death and replay is not known
        free_at = created + _ttl(stored)
        if stored.status in ("dead_letter", "cancelled"):
            free_at = min(free_at, stored.number("f"))
        for later, other, _ in holders[place + 1 :]:
            if later < free_at - SLACK_MS:
                yield f"{other} was taken at {later} with the key {key!r}, which {job_id} held until {free_at}"


def _ttl(stored: StoredJob) -> int:
    return int(stored.head.get("e", DEFAULT_DEDUPE_TTL_MS))


def first_come_first_served(evidence: Evidence) -> Iterator[str]:
    """6. FIFO per shard, queue, lane and type, in order of acknowledgement, for jobs never released, retried or reaped.

    A type that was set aside may begin after others, so each is judged by itself. Of two jobs the one is behind the
    other when it was first sent after the other had been acknowledged.
    """
    lanes = defaultdict(list)
    for job_id, job, stored in evidence.pairs():
        if not evidence.clock_moved and stored.number("n") == 1 and not stored.kinds and _ready_at_once(job):
            lanes[*stored.lane, stored.type].append((job_id, job, stored.number("b")))
    for lane, jobs in lanes.items():
        by_acknowledgement = sorted(
            (job.acknowledged_at, claimed, job_id) for job_id, job, claimed in jobs if job.acknowledged_at is not None
        )
        latest, place = (0, ""), 0
        for job_id, job, claimed in sorted(jobs, key=lambda entry: entry[1].first_sent):
            while place < len(by_acknowledgement) and by_acknowledgement[place][0] < job.first_sent:
                latest = max(latest, by_acknowledgement[place][1:])
                place += 1
            if claimed < latest[0]:
                yield f"{job_id} was claimed at {claimed} and {latest[1]} at {latest[0]}, which was before it in {lane}"


def _ready_at_once(job: JobHistory) -> bool:
    return job.schedule is None and not ("delay" in job.request or "run_at" in job.request or job.maybe_retried)


def not_before_its_time(evidence: Evidence) -> Iterator[str]:
    """7. Nothing runs before its time by the store's clock."""
    for job_id, job, stored in evidence.pairs():
        if evidence.clock_moved or job.maybe_retried:
            continue
        claimed = stored.number("b")
        if stored.status in ("succeeded", "dead_letter") and claimed < stored.ready_at:
            yield f"{job_id} was claimed at {claimed} and due at {stored.ready_at}"
        wait = round(job.request.get("delay", 0) * 1000)
        if wait and int(stored.head["r"]) - stored.created_at < wait:
            yield f"{job_id} was to wait {wait} ms and is due {stored.head['r']}, created {stored.created_at}"
        first_start = min((start.at for start in job.starts), default=None)
        if wait and first_start is not None and (first_start - job.first_sent) // NS < wait - SLACK_MS:
            yield f"{job_id} ran {(first_start - job.first_sent) // NS} ms after it was sent, with a delay of {wait} ms"


def exactly_the_acknowledged(evidence: Evidence) -> Iterator[str]:
    """8. The store holds exactly the acknowledged jobs and those unknown calls that did land; no orphan keys."""
    view = evidence.view
    for job_id, job in evidence.history.jobs.items():
        if job_id in view.jobs and job.schedule is None and not job.acknowledged and not job.unknown:
            said = [f"{call.outcome} {call.answer and (call.answer.code, call.answer.said)}" for call in job.enqueues]
            yield f"{job_id} is in the store, and its calls were answered {said}"
    yield from items.each_in_one_job(evidence)
    created = Counter(view.counters)["enqueued"]
    if created != len(view.jobs):
        yield f"{created} jobs were counted and {len(view.jobs)} are there"
    yield from (f"the state or log of {job_id} has no job" for job_id in sorted(view.lone_states))
    yield from (f"nobody knows the key {key}" for key in view.strangers)
    for claim_id, ttl in view.claims.items():
        if not 0 <= ttl <= evidence.lease * 1000:
            yield f"the claim {claim_id} is kept for {ttl} ms"
    yield from _lists(view)
    if not view.unfinished():
        yield from _places(view)


def _lists(view: StoreView) -> Iterator[str]:
    """A queued job is in one list, its lane or that of its type. Cancelled jobs are tombstones there. Others are not.

    The field `aside` of a queue names every list that was set aside. A name may have no list.
    """
    where: dict[str, list[str]] = defaultdict(list)
    for (shard, queue, lane), place, members in view.lists():
        kind, _, rest = place.partition(":")
        type_name = rest.split(":", 2)[2] if kind == "aside" else "*"
        named = view.queues.get((shard, queue), {}).get("aside", "").split()
        if kind == "aside" and f"{lane[0]}:{type_name}" not in named:
            yield f"{place} of shard {shard} has {len(members)} entries, and the names of its queue are {named}"
        for job_id in members:
            job = view.jobs.get(job_id)
            if job is None or job.status not in ("waiting", "cancelled"):
                yield f"{job_id} is in {place} of shard {shard}, and is {job.status if job else 'no job'}"
            elif job.status == "waiting":
                where[job_id].append(place)
                if job.lane != (shard, queue, lane) or type_name not in ("*", "!", job.type):
                    yield f"{job_id} is in {place} of shard {shard}, and is a {job.type} of the lane {job.lane}"
    for job_id, places in where.items():
        if len(places) > 1:
            yield f"{job_id} is in several lists: {places}"


def _places(view: StoreView) -> Iterator[str]:
    """At rest, every job is in the place of its state and in no other."""
    where: dict[str, list[str]] = defaultdict(list)
    for (shard, place), members in view.places.items():
        kind = place.partition(":")[0]
        for job_id in members if kind not in LISTS else ():
            job = view.jobs.get(job_id)
            if job is None or kind in ("scheduled", "leases"):
                yield f"{job_id} is in {place} of shard {shard}, and is {job.status if job else 'no job'}"
            else:
                where[job_id].append(place)
    tombstones: Counter[tuple[int, str, str]] = Counter()
    for of_lane, _, members in view.lists():
        tombstones[of_lane] += len(members)
    for (shard, queue, lane), entries in tombstones.items():
        fields = view.queues.get((shard, queue), {})
        if int(fields.get(f"tombstones_{lane}", 0)) != entries:
            yield f"{queue}:{lane} of shard {shard} has {entries} tombstones, and {fields} were counted"
    for job_id, job in view.jobs.items():
        place = f"{'dead' if job.status == 'dead_letter' else 'done'}:{job.lane[1]}"
        if where[job_id] != [place]:
            yield f"{job_id} is {job.status} and in {where[job_id] or 'no place'}, not in {place}"
    yield from _bytes(view)


def _bytes(view: StoreView) -> Iterator[str]:
    for kind in ("dead", "done"):
        sums: Counter[tuple[int, str]] = Counter()
        for job in view.jobs.values():
            if (job.status == "dead_letter") == (kind == "dead"):
                sums[job.lane[:2]] += job.bytes
        for queue in view.queues.keys() | sums.keys():
            counted = view.queues.get(queue, {}).get(f"{kind}_bytes", "0")
            if int(counted) != sums[queue]:
                yield f"{queue} counts {counted} bytes of {kind} jobs, and has {sums[queue]}"


def terminal_in_time(evidence: Evidence) -> Iterator[str]:
    """9. After healing, all is terminal within two leases + reap + longest backoff."""
    rest = evidence.rest
    for job_id in rest.late:
        job = evidence.view.jobs.get(job_id)
        became = f"{job.status} ({job.state})" if job else "not in the store"
        yield f"{job_id} was not terminal {rest.bound:.1f} s after the healing; after {rest.seconds:.1f} s: {became}"


def no_unknown_ids(evidence: Evidence) -> Iterator[str]:
    """10. No unknown ids."""
    of_items = {job_id for job_id, stored in evidence.view.jobs.items() if stored.items is not None}
    for job_id in sorted(evidence.view.jobs.keys() - evidence.history.jobs.keys() - of_items):
        yield f"{job_id} is in the store, and no client made it, and no schedule"
    for job_id, source in evidence.history.strays.items():
        yield f"{job_id} is in {source}, and no client made it, and no schedule"


def no_internal_errors(evidence: Evidence) -> Iterator[str]:
    """0. No call was answered with a 500, nor with a refusal of what is a good request."""
    for answer in evidence.history.answers:
        allowed = {
            "enqueue": ("409", "429"),
            "cancel": ("404", "409"),
            "retry": ("404", "409", "429"),
            "replay": ("429",),
        }[answer.operation]
        if answer.code.isdecimal() and answer.code not in ("200", "503", *allowed):
            yield f"the {answer.operation} of {answer.job or 'dead jobs'} was answered {answer.code}"


CHECKS: Final[Mapping[int, Check]] = {
    0: no_internal_errors,
    1: one_terminal_state,
    2: one_terminal_transition,
    3: within_limits,
    4: one_valid_token,
    5: one_job_per_key,
    6: first_come_first_served,
    7: not_before_its_time,
    8: exactly_the_acknowledged,
    9: terminal_in_time,
    10: no_unknown_ids,
    15: ticks.one_job_per_tick,
}


def check(evidence: Evidence) -> list[Violation]:
    """Every violation of every invariant, by number."""
    return [Violation(number, message) for number, holds in CHECKS.items() for message in holds(evidence)]

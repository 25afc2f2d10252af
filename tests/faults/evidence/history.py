"""The ledger put in order: for each job, what was asked, answered, done and seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from queuey.protocol import ids
from tests.faults.evidence.ledger import (
    Answered,
    Ended,
    Event,
    Moment,
    Operation,
    Outcome,
    Scheduled,
    Seen,
    Sent,
    Started,
    Unscheduled,
)
from tests.faults.load.handlers import Deed


@dataclass
class Call:
    """A call for one job. `answer`: None as long as none was written down."""

    sent: Sent
    answer: Answered | None = None

    @property
    def outcome(self) -> Outcome:
        return self.answer.outcome if self.answer is not None else "unknown"


@dataclass
class JobHistory:
    """One id that a client made, or a tick of a schedule."""

    request: dict[str, Any]
    schedule: Scheduled | None = None
    tick_ms: int = 0
    enqueues: list[Call] = field(default_factory=list)
    cancels: list[Call] = field(default_factory=list)
    retries: list[Call] = field(default_factory=list)
    starts: list[Started] = field(default_factory=list)
    ends: list[Ended] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    @cached_property
    def deed(self) -> Deed:
        return Deed(**self.request.get("payload", {}))

    @property
    def key(self) -> str:
        return str(self.request.get("dedupe_key", ""))

    @property
    def unique_key(self) -> str:
        return str(self.request.get("unique", {}).get("key", ""))

    @property
    def keys(self) -> tuple[str, str]:
        """The dedupe key and the unique key, of which a job has one at most."""
        return self.key, self.unique_key

    @property
    def max_attempts(self) -> int:
        return int(self.request.get("max_attempts", 5))

    @property
    def acknowledged_at(self) -> int | None:
        """When a reply first said that this job was taken."""
        return min((c.answer.at for c in self.enqueues if c.answer and c.answer.said == c.sent.job), default=None)

    @property
    def acknowledged(self) -> bool:
        return self.acknowledged_at is not None

    @property
    def unknown(self) -> bool:
        """A call for it went unanswered, so that it may or may not be there."""
        return any(call.outcome == "unknown" for call in self.enqueues)

    @property
    def first_sent(self) -> int:
        return min(call.sent.at for call in self.enqueues)

    def cancel_said(self, status: str) -> bool:
        return any(call.answer is not None and call.answer.said == status for call in self.cancels)

    @property
    def maybe_cancelled(self) -> bool:
        by_next_tick = self.schedule is not None and self.schedule.request["overlap"] == "cancel_previous"
        return by_next_tick or any(call.outcome != "fail" for call in self.cancels)

    @property
    def maybe_retried(self) -> bool:
        """By a client: made due at once when it was scheduled, given a new run when it was dead."""
        return any(call.outcome != "fail" for call in self.retries)

    def ended(self, how: str) -> list[Ended]:
        return [end for end in self.ends if end.how == how]


@dataclass
class History:
    """`strays`: ids in the ledger that no client and no schedule made, and where they came from."""

    jobs: dict[str, JobHistory] = field(default_factory=dict)
    replays: list[Call] = field(default_factory=list)
    items: dict[str, list[Call]] = field(default_factory=dict)
    """By item of a batch: the calls that enqueue it."""
    schedules: dict[str, Scheduled] = field(default_factory=dict)
    until_ms: dict[str, int] = field(default_factory=dict)
    """By schedule: the ticks until then are decided, by the store's clock."""
    strays: dict[str, str] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)

    @classmethod
    def of(cls, events: Sequence[Event]) -> History:
        """From the events of one ledger, in any order but that a call's answer follows it."""
        history = cls()
        calls: dict[tuple[int, str], Call] = {}
        for event in events:
            if isinstance(event, Sent) and event.operation == "enqueue" and "batch" not in event.request:
                history.jobs.setdefault(event.job, JobHistory(event.request))
            elif isinstance(event, Scheduled):
                history.schedules[event.name] = event
            elif isinstance(event, Unscheduled):
                history.until_ms[event.name] = event.until_ms
            elif isinstance(event, Moment):
                history.moments.append(event)
        for event in events:
            if isinstance(event, Sent):
                calls[event.call, event.job] = history._add_call(event)
            elif isinstance(event, Answered):
                calls[event.call, event.job].answer = event
                history.answers.append(event)
                if event.operation == "enqueue" and event.said and event.job not in history.items:
                    history._known(event.said, f"the reply to the enqueue of {event.job}")
            elif isinstance(event, Started | Ended | Seen):
                history._add_attempt(event)
        return history

    def _add_attempt(self, event: Started | Ended | Seen) -> None:
        job = self._known(event.job, f"a line `{type(event).__name__}`")
        if job is None:
            return
        if isinstance(event, Started):
            job.starts.append(event)
        elif isinstance(event, Ended):
            job.ends.append(event)
        else:
            job.seen.append(event)

    def adopt(self, job_ids: Iterable[str]) -> None:
        """Take in the jobs of these that a schedule made. Nobody sent them, so the ledger may not have them."""
        for job_id in job_ids:
            if job_id not in self.jobs and (made := self._of_schedule(job_id)) is not None:
                self.jobs[job_id] = made

    def _of_schedule(self, job_id: str) -> JobHistory | None:
        """The id of a tick's job is made from both, so it proves whose it is."""
        for name, schedule in self.schedules.items():
            tick_ms = _time_of(job_id)
            if ids.of_tick(name, schedule.uid, tick_ms) == job_id:
                return JobHistory(schedule.request["job"], schedule, tick_ms)
        return None

    def _known(self, job_id: str, source: str) -> JobHistory | None:
        self.adopt([job_id])
        if job_id not in self.jobs:
            self.strays.setdefault(job_id, source)
        return self.jobs.get(job_id)

    def _add_call(self, sent: Sent) -> Call:
        call = Call(sent)
        if sent.operation == "replay":
            self.replays.append(call)
        elif "batch" in sent.request:
            self.items.setdefault(sent.job, []).append(call)
        elif (job := self._known(sent.job, f"a call to {sent.operation}")) is not None:
            {"enqueue": job.enqueues, "cancel": job.cancels, "retry": job.retries}[sent.operation].append(call)
        return call

    def must_exist(self) -> set[str]:
        """Ids that a reply has named as taken, or as the holder of a dedupe key."""
        return {a.said for a in self.answers if a.operation == "enqueue" and a.outcome == "ok"}

    def count(self, operation: Operation, outcome: Outcome) -> int:
        return sum(a.operation == operation and a.outcome == outcome for a in self.answers)


def _time_of(job_id: str) -> int:
    """The ms in an id: ten base-32 characters behind the bucket's."""
    millis = 0
    for place in range(2, 12, 2):
        millis = millis * ids.BUCKETS + ids.bucket_of(job_id[place : place + 2])
    return millis

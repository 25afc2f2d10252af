"""The ledger put in order: for each job, what was asked, answered, done and seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.faults.evidence.ledger import Answered, Ended, Event, Moment, Operation, Outcome, Seen, Sent, Started
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
    """One id that a client made."""

    request: dict[str, Any]
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
        return any(call.outcome != "fail" for call in self.cancels)

    @property
    def maybe_retried(self) -> bool:
        """By a client: made due at once when it was scheduled, given a new run when it was dead."""
        return any(call.outcome != "fail" for call in self.retries)

    def ended(self, how: str) -> list[Ended]:
        return [end for end in self.ends if end.how == how]


@dataclass
class History:
    """`strays`: ids in the ledger that no client made, and where they came from."""

    jobs: dict[str, JobHistory] = field(default_factory=dict)
    replays: list[Call] = field(default_factory=list)
    strays: dict[str, str] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)

    @classmethod
    def of(cls, events: Sequence[Event]) -> History:
        """From the events of one ledger, in any order but that a call's answer follows it."""
        history = cls()
        calls: dict[tuple[int, str], Call] = {}
        for event in events:
            if isinstance(event, Sent) and event.operation == "enqueue":
                history.jobs.setdefault(event.job, JobHistory(event.request))
        for event in events:
            if isinstance(event, Sent):
                calls[event.call, event.job] = history._add_call(event)
            elif isinstance(event, Answered):
                calls[event.call, event.job].answer = event
                history.answers.append(event)
                if event.operation == "enqueue" and event.said:
                    history._known(event.said, f"the reply to the enqueue of {event.job}")
            elif isinstance(event, Moment):
                history.moments.append(event)
            elif (job := history._known(event.job, f"a line `{type(event).__name__}`")) is not None:
                if isinstance(event, Started):
                    job.starts.append(event)
                elif isinstance(event, Ended):
                    job.ends.append(event)
                else:
                    job.seen.append(event)
        return history

    def _known(self, job_id: str, source: str) -> JobHistory | None:
        if job_id not in self.jobs:
            self.strays.setdefault(job_id, source)
        return self.jobs.get(job_id)

    def _add_call(self, sent: Sent) -> Call:
        call = Call(sent)
        if sent.operation == "replay":
            self.replays.append(call)
        elif (job := self._known(sent.job, f"a call to {sent.operation}")) is not None:
            {"enqueue": job.enqueues, "cancel": job.cancels, "retry": job.retries}[sent.operation].append(call)
        return call

    def must_exist(self) -> set[str]:
        """Ids that a reply has named as taken, or as the holder of a dedupe key."""
        return {a.said for a in self.answers if a.operation == "enqueue" and a.outcome == "ok"}

    def count(self, operation: Operation, outcome: Outcome) -> int:
        return sum(a.operation == operation and a.outcome == outcome for a in self.answers)

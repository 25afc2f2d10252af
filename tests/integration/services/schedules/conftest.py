"""Schedules on a real store, and loops that fire them with a clock that the test sets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from queuey.metrics import Metrics
from queuey.protocol.models import ScheduleRequest
from queuey.services.jobs.submission import Decoder, Submission, SubmissionSettings
from queuey.services.schedules.firing.decisions import Decider
from queuey.services.schedules.firing.firer import Firer
from queuey.services.schedules.specs import to_text
from queuey.services.schedules.ticks import Ticks
from queuey.settings.settings import Settings
from tests.support.scripts.schedules import Timetable
from tests.support.store import NOW, Rig

MINUTE = 60_000
JOB: dict[str, Any] = {"type": "report", "payload": 1}


def submission(decoder: Decoder | None = None) -> Submission:
    return Submission(SubmissionSettings.of(Settings(check_payloads="yes")), lambda _: None, lambda _: decoder)


class Replica(Firer):
    """A loop that fires the schedules of the rig's shard. `now` is the time of the store."""

    def __init__(self, rig: Rig, decoder: Decoder | None = None) -> None:
        self.now, self.full, self.metrics = NOW, False, Metrics()
        super().__init__(
            rig.broker,
            Decider(submission(decoder)),
            rig.shard,
            is_full=lambda: self.full,
            metrics=self.metrics,
            clock=lambda: self.now,
        )

    async def look(self, now: int) -> None:
        self.now = now
        await self.fire_due()

    def counts(self) -> dict[str, float]:
        """The ticks that it has decided, by outcome."""
        samples = self.metrics.schedule_ticks.collect().samples
        return {each.labels["outcome"]: each.value for each in samples if each.value}


class Plans(Timetable):
    """Schedules with specs that can be read. They are made at NOW, from which `every` is counted."""

    async def make(self, name: str = "", *, mark: str = "*", created: int = NOW, **spec: Any) -> Ticks:
        """Put a schedule as the API does. Returns its ticks."""
        request = request_of({"job": JOB, **spec})
        ticks = Ticks(request, created)
        first = ticks.after(created)
        assert first is not None
        name = name or self.name
        due = ticks.due(uid_of(name), first)
        answer, _ = await self.put(
            name, spec=to_text(request), next=first, due=due, mark=mark, uid=uid_of(name), anchor=created, now=created
        )
        assert answer in ("new", "replaced")
        return ticks

    async def runs(self, name: str = "") -> list[tuple[int, str, int]]:
        """Ticks, outcomes and counts of its history, the oldest first."""
        return [(run.tick_ms, run.outcome, run.count) for run in await self.history(name)]


def request_of(fields: dict[str, Any]) -> ScheduleRequest:
    return msgspec.json.decode(msgspec.json.encode(fields), type=ScheduleRequest)


def uid_of(name: str) -> str:
    return f"U{name}"


@pytest.fixture
async def plans(rig: Rig) -> Plans:
    plans = Plans(rig)
    await plans.open_gate()
    return plans


@pytest.fixture
async def replica(rig: Rig) -> Replica:
    return Replica(rig)

"""The scenarios of bench/k6, cut into stages for the load generator of this folder, and what must hold of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.report import Row, Section, at_least, at_most

MAX_SECONDS: Final = 7200.0
FAILED: Final = 0.1
"""Per cent of the requests that may fail."""
ARRIVED: Final = 98
"""Per cent of the arrivals that were due. A stage that falls short has measured the load generator, not the server."""
NO_REPLY_MS: Final = 10_000
"""What counts as the latency where nothing was answered: as long as run.js waits for a reply."""


@dataclass(frozen=True)
class Stage:
    """Load of one kind for a while: `clients` that each wait for their reply, or else a `rate` of arrivals a second."""

    seconds: float
    clients: int = 0
    rate: float = 0

    def __str__(self) -> str:
        return f"{self.rate:,.0f} arrivals/s" if self.rate else f"{self.clients} clients"


@dataclass(frozen=True)
class Scenario:
    """`p95` and `p99` in ms are the thresholds of every stage."""

    name: str
    note: str
    stages: tuple[Stage, ...]
    p95: float
    p99: float


@dataclass(frozen=True)
class Found:
    """What one stage brought: counts of requests, the seconds that it took, and latencies in ms (None: no reply)."""

    asked: int
    answered: int
    failed: int
    seconds: float
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


def submit(seconds: float = 30) -> Scenario:
    note = "A closed model: each client sends its next job when the last is acknowledged."
    return Scenario("submit", note, (Stage(seconds, clients=20),), p95=50, p99=100)


def ramp(seconds: float = 60) -> Scenario:
    note = "An open model: jobs arrive at a rate that rises in steps, whatever becomes of those before."
    rates = (100, 500, 1000, 1500, 2000)
    return Scenario("ramp", note, tuple(Stage(seconds / len(rates), rate=rate) for rate in rates), p95=100, p99=250)


def soak(seconds: float = 120) -> Scenario:
    note = "An open model: jobs arrive at one rate for long."
    return Scenario("soak", note, (Stage(seconds, rate=500),), p95=25, p99=50)


SCENARIOS: Final = {"submit": submit, "ramp": ramp, "soak": soak}


def section(scenario: Scenario, stage: Stage, found: Found) -> Section:
    """The figures of one stage beside its thresholds."""
    rows = [
        Row("acknowledged", "jobs/s", [found.answered / found.seconds if found.seconds else 0.0]),
        Row("failed, of those sent", "%", [100 * found.failed / found.asked if found.asked else 100], at_most(FAILED)),
        Row("latency, p50", "ms", [_ms(found.p50)]),
        Row("latency, p95", "ms", [_ms(found.p95)], at_most(scenario.p95)),
        Row("latency, p99", "ms", [_ms(found.p99)], at_most(scenario.p99)),
        Row("latency, highest", "ms", [_ms(found.max)]),
    ]
    if stage.rate:
        arrived = 100 * found.asked / (stage.rate * stage.seconds)
        rows.insert(0, Row("sent, of those that were due", "%", [arrived], at_least(ARRIVED)))
    return Section(f"{stage}, {stage.seconds:g} s", rows)


def _ms(value: float | None) -> float:
    return NO_REPLY_MS if value is None else value


def broken(sections: list[Section]) -> list[str]:
    """The thresholds that were not kept, each with its figure."""
    return [
        f"{one.heading}: {row.name} {row.median:.4g} {row.unit}, wanted {row.target}"
        for one in sections
        for row in one.rows
        if row.verdict == "missed"
    ]

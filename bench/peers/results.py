"""The report on what was measured: a table per measurement, all peers side by side, and the targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.peers.catalog import (
    BULLMQ,
    DRAMATIQ_DEFAULTS,
    MEMORY_JOBS,
    PEERS,
    QUEUEY,
    QUEUEY_HTTP,
    QUEUEY_SYNCED,
    QUEUEY_SYNCED_HTTP,
    WIDE,
    Peer,
)
from bench.report import Row, Section, at_least, at_most, grid, number

Values = dict[str, list[float]]
"""By peer, a value per run."""

MEASURED: Final = (
    ("one", "Enqueue one at a time", "jobs/s", "Each after the answer to the last."),
    ("bulk", "Enqueue many", "jobs/s", "By the peer's own call for many jobs, or else with many calls under way."),
    ("drain", "Drain by one worker process", "jobs/s", "From a tenth of a full queue to its end, seen by the handler."),
    ("drain-wide", f"Drain at concurrency {WIDE}", "jobs/s", "The same with more at a time."),
    (
        "p50",
        "Pick-up when idle, p50",
        "ms",
        "From before the enqueue to the handler, one job at a time, 100 samples 20 to 60 ms apart.",
    ),
    ("p99", "Pick-up when idle, p99", "ms", "The same samples."),
    (
        "memory",
        "Store memory per waiting job",
        "bytes",
        f"{MEMORY_JOBS:,} jobs with a payload of 100 bytes; by the store's used_memory.",
    ),
)
"""Name of a measurement, heading, unit, and what a reader must know."""


@dataclass
class Results:
    """`figures` by measurement and peer; `failed` by peer: why it has not all of them."""

    figures: dict[str, Values] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, peer: str, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.figures.setdefault(name, {}).setdefault(peer, []).append(value)

    def fail(self, peer: str, reason: str) -> None:
        """Drop what there is of it: a peer has all of its runs or none."""
        self.failed[peer] = reason
        for values in self.figures.values():
            values.pop(peer, None)

    def of(self, name: str, peer: str) -> list[float]:
        return self.figures.get(name, {}).get(peer, [])


def sections(results: Results, versions: dict[str, str]) -> list[Section]:
    """The whole report."""
    parts = [Section("Targets", targets(results)), Section("All medians", note=_overview(results))]
    for name, heading, unit, note in MEASURED:
        values = results.figures.get(name, {})
        rows = [Row(peer.name, unit, values[peer.name]) for peer in PEERS if peer.name in values]
        if rows:
            parts.append(Section(heading, rows, note))
    parts.append(Section("Settings", note=_settings(versions)))
    if results.failed:
        lines = [f"- {peer}: not measured: {reason}" for peer, reason in results.failed.items()]
        parts.append(Section("Not measured", note="\n".join(lines)))
    return parts


def targets(results: Results) -> list[Row]:
    """Ratios are made per run. A target that names a peer which was not measured is left out."""
    python = [peer for peer in PEERS if not peer.is_queuey and peer.is_python and peer.acks_after_running]
    keepers = [peer for peer in PEERS if not peer.is_queuey and peer.keeps_state]
    others = [peer for peer in PEERS if not peer.is_queuey]
    best_python = _best(results, ("drain", "drain-wide"), python, max)
    rows = [
        _ratio("drain, concurrency 100, over the best Python peer", results.of("drain", QUEUEY), best_python, 8),
        _ratio("drain, concurrency 100, over its defaults", results.of("drain", QUEUEY), _defaults(results), 8),
        _ratio("drain, concurrency 100, over BullMQ", results.of("drain", QUEUEY), _only(results, "drain"), 2),
        _ratio("drain, concurrency 256, over the best Python peer", results.of("drain-wide", QUEUEY), best_python, 10),
        _ratio(
            "drain, concurrency 256, over BullMQ", results.of("drain-wide", QUEUEY), _only(results, "drain-wide"), 2.5
        ),
    ]
    for quantile, peer, limit in (
        ("p50", QUEUEY_SYNCED, 1.0),
        ("p99", QUEUEY_SYNCED, 2.5),
        ("p50", QUEUEY_SYNCED_HTTP, 1.5),
        ("p99", QUEUEY_SYNCED_HTTP, 4),
    ):
        values = results.of(quantile, peer)
        rows.append(Row(f"pick-up {quantile}, {peer}", "ms", values, at_most(limit)) if values else None)
    for quantile in ("p50", "p99"):
        best = _best(results, (quantile,), others, min)
        for peer in (QUEUEY_SYNCED, QUEUEY_SYNCED_HTTP, QUEUEY, QUEUEY_HTTP):
            name = f"pick-up {quantile}, lowest peer's over that of {peer}"
            rows.append(_reverse(name, results.of(quantile, peer), best))
    least = _best(results, ("memory",), keepers, min)
    rows.append(_reverse("memory per waiting job, lowest peer's over Queuey's", results.of("memory", QUEUEY), least))
    return [row for row in rows if row is not None]


def _defaults(results: Results) -> _Best:
    """The rate that the target was set by: the best peer has its prefetch raised, which makes it four times as fast."""
    return _Best(results.of("drain", DRAMATIQ_DEFAULTS), DRAMATIQ_DEFAULTS)


@dataclass(frozen=True)
class _Best:
    """The best value of each run, and who has the best median."""

    values: Sequence[float]
    name: str


def _best(
    results: Results, names: Iterable[str], peers: Iterable[Peer], choose: Callable[[Iterable[float]], float]
) -> _Best:
    """Over all peers, and over several variants of one measurement."""
    measured = [(peer.name, results.of(name, peer.name)) for name in names for peer in peers]
    there = [(peer, values) for peer, values in measured if values]
    if not there:
        return _Best([], "")
    medians = {statistics.median(values): peer for peer, values in there}
    runs = zip(*(values for _, values in there), strict=True)
    return _Best([choose(values) for values in runs], medians[choose(medians)])


def _only(results: Results, name: str) -> _Best:
    return _Best(results.of(name, BULLMQ), "")


def _ratio(name: str, ours: Sequence[float], theirs: _Best, target: float) -> Row | None:
    """Ours over theirs."""
    if not ours or not theirs.values:
        return None
    who = f" ({theirs.name})" if theirs.name else ""
    return Row(name + who, "x", [own / other for own, other in zip(ours, theirs.values, strict=True)], at_least(target))


def _reverse(name: str, ours: Sequence[float], theirs: _Best) -> Row | None:
    """Theirs over ours, where less is better: above 1, ours is the lowest."""
    if not ours or not theirs.values:
        return None
    values = [other / own for own, other in zip(ours, theirs.values, strict=True)]
    return Row(f"{name} ({theirs.name})", "x", values, at_least(1))


def _overview(results: Results) -> str:
    heads = ["", *(f"{heading}, {unit}" for _, heading, unit, _ in MEASURED)]
    rows = []
    for peer in PEERS:
        runs = [results.of(name, peer.name) for name, *_ in MEASURED]
        if any(runs):
            rows.append([peer.name, *(number(statistics.median(values)) if values else "n/a" for values in runs)])
    return grid(heads, rows)


def _settings(versions: dict[str, str]) -> str:
    words = {True: "yes", False: "no"}
    rows = [
        [
            peer.name,
            versions.get(peer.name, ""),
            words[peer.acks_after_running],
            words[peer.keeps_state],
            peer.settings,
        ]
        for peer in PEERS
    ]
    return grid(["", "version", "acknowledges after running", "keeps a job's state", "settings"], rows)

"""The part of the report on brokers: one table of all medians, the targets, and the runs of each figure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from bench.peers.brokers.catalog import BROKERS
from bench.peers.catalog import PEERS, Peer
from bench.peers.results import Results
from bench.report import Row, Section, at_least, grid, number

OURS: Final = "Queuey server, fsync always"
RIVAL: Final = "bunqueue in memory"
MEASURED: Final = (
    ("single", "Single jobs, 64 connections", "jobs/s"),
    ("single p99", "Single jobs, p99", "ms"),
    ("batches", "Batches of 1,000", "jobs/s"),
    ("pull", "Pulled and finished, 500 a claim", "jobs/s"),
    ("poll p50", "Pick-up by a worker that waits, p50", "ms"),
)
"""Name of a measurement, heading, unit."""
OF_A_LIBRARY: Final = {"batches": "bulk", "pull": "drain", "poll p50": "p50"}
"""A library has no server to ask: its own enqueue of many, its own worker, and the handler of that are measured."""
NOTE: Final = (
    "Jobs with a payload of 100 bytes come over a socket. Pull: 4 workers. Pick-up: from before the enqueue until a "
    "request that waited has the job. A library is measured by its own calls, 64 at a time, its own worker, and the "
    "pick-up by a handler. Compare rows only with regard to what their acknowledgement means."
)


def sections(results: Results) -> list[Section]:
    """Nothing when no broker was measured."""
    names = {name: found for name in _answers() if (found := _medians(results, name))}
    if not names:
        return []
    heads = ["", *(f"{heading}, {unit}" for _, heading, unit in MEASURED), "an acknowledgement means"]
    rows = [[name, *medians, _answers()[name]] for name, medians in names.items()]
    parts = [Section("Brokers", targets(results), f"{NOTE}\n\n{grid(heads, rows)}")]
    for figure, heading, unit in MEASURED:
        values = {name: _runs(results, figure, name) for name in names}
        rows_of_it = [Row(name, unit, runs, mark=_kept(name)) for name, runs in values.items() if runs]
        parts.append(Section(heading, rows_of_it))
    versions = [[broker.name, broker.version(), broker.settings] for broker in BROKERS]
    return [*parts, Section("Settings of the brokers", note=grid(["", "version", "settings"], versions))]


def targets(results: Results) -> list[Row]:
    """Ours, with every job on disk, over bunqueue in memory, run by run."""
    rows = []
    for figure, heading, unit in MEASURED:
        ours, theirs = results.of(figure, OURS), results.of(figure, RIVAL)
        if ours and theirs and unit == "jobs/s":
            ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
            rows.append(Row(f"{heading}: {OURS} over {RIVAL}", "x", ratios, at_least(1)))
    return rows


def _runs(results: Results, figure: str, name: str) -> list[float]:
    """All runs of a figure; that of a library has a name of its own."""
    is_library = name in {peer.name for peer in _libraries()}
    return results.of(OF_A_LIBRARY.get(figure, figure) if is_library else figure, name)


def _kept(name: str) -> str:
    """Where an acknowledged job is; a library that is in the table keeps it on disk."""
    return next((broker.kept for broker in BROKERS if broker.name == name), "disk")


def _libraries() -> Sequence[Peer]:
    return [peer for peer in PEERS if peer.wide_enqueue]


def _answers() -> dict[str, str]:
    """What an acknowledgement means, by the name of a row, in the order of the table."""
    return {broker.name: broker.answer for broker in BROKERS} | {peer.name: peer.answer for peer in _libraries()}


def _medians(results: Results, name: str) -> list[str]:
    """The cells of a row; empty when there is no figure of it."""
    runs = [_runs(results, figure, name) for figure, _, _ in MEASURED]
    return [number(statistics.median(values)) if values else "n/a" for values in runs] if any(runs) else []

"""`python -m bench.against [--rev REV] [--quick]`: hold the working tree against a commit, and exit with 1 if it loses.

The commit is that of bench/BASELINE unless another is named. Three parts, each of which can be left out: `store`
(instructions of every call, by callgrind), `weights` (commands and bytes) and `process` (CPU time of a job).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from bench import cores
from bench.against import instructions, process, verdict, weights
from bench.against.checkout import Revision, baseline, checked_out, commit_of, working_tree
from bench.against.recording import Recording
from bench.against.session import record
from bench.report import Report, Section
from bench.servers import PLAN

STORE, WEIGHTS, PROCESS = PARTS = ("store", "weights", "process")
ROUNDS: Final = 9
REPLAYS: Final = 4
QUICK_ROUNDS: Final = 3
QUICK_REPLAYS: Final = 2
MOST: Final = 99

STORE_NOTE: Final = (
    "Instructions of a request's commands in the store, by callgrind: the commands that a server sends for a fixed "
    "session of requests are recorded and sent again to an empty store without it. The figure is the cheapest request "
    "of a kind without the allocator, while no garbage is collected; the last row is the sum of all with both. The "
    "machine's load does not matter."
)
WEIGHTS_NOTE: Final = (
    "Of the same session: commands that the server sends for a request, commands that the store runs for it, bytes "
    "that it adds to the append-only file, bytes of the keys with their serialized values. These are exact. Memory is "
    "what the allocator gives, which may round up by a few bytes."
)
PROCESS_NOTE: Final = (
    "User and system CPU time of the server's process. Three servers take turns in each round, two of them of the "
    "commit; the limit is 5 % or, if that is more, twice what these two differ by in a middling round. The difference "
    "is the median of the rounds', each against the mean of the commit's two."
)


class Comparisons(Report):
    """A report whose JSON has the comparisons too."""

    def __init__(self, title: str) -> None:
        super().__init__("against", title)
        self.comparisons: list[verdict.Comparison] = []

    def add(self, heading: str, comparisons: Sequence[verdict.Comparison], note: str) -> None:
        self.comparisons.extend(comparisons)
        self.sections.append(Section(heading, note=f"{note}\n\n{verdict.table(comparisons)}"))

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "comparisons": [comparison.as_json() for comparison in self.comparisons]}


class Measuring:
    """Both sides, and the folder that each measurement has for itself."""

    def __init__(self, commit: Revision, tree: Revision, folder: Path, lose: float | None) -> None:
        self._sides = (commit, tree)
        self._folder = folder
        self._lose = lose
        self._recordings: list[Recording] = []

    def record(self) -> None:
        """Record the session of both sides, which the store and the weights are measured by."""
        say("recording the session of both sides")
        self._recordings = [record(side, self._new(f"record-{number}")) for number, side in enumerate(self._sides)]

    def store(self, replays: int) -> list[verdict.Comparison]:
        say(f"instructions of the store, {2 * replays} replays of each side")
        plain = self._recordings
        quiet = [instructions.uncollected(recording) for recording in plain]
        work = [
            (number, recordings[number], self._new(f"callgrind-{kind}-{replay}-{number}"))
            for kind, recordings in enumerate((quiet, plain))
            for replay in range(replays)
            for number in (0, 1)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            counted = list(pool.map(self._replay, work))
        requests, whole = counted[: 2 * replays], counted[2 * replays :]
        commit, tree = [
            instructions.per_call(quiet[number], requests[number::2])
            | instructions.in_all(plain[number], whole[number::2])
            for number in (0, 1)
        ]
        percent = verdict.STORE_PERCENT if self._lose is None else self._lose
        return verdict.compare("instructions", "a request", commit, tree, percent)

    def _replay(self, work: tuple[int, Recording, Path]) -> list[instructions.Count]:
        number, recording, folder = work
        return instructions.replay(self._sides[number], recording, folder)

    def weights(self) -> list[verdict.Comparison]:
        say("commands and bytes")
        commit, tree = [
            weights.weigh(side, recording, self._new(f"weights-{number}"))
            for number, (side, recording) in enumerate(zip(self._sides, self._recordings, strict=True))
        ]
        exact = self._lose or 0.0
        return [
            *verdict.compare("sent to the store", "commands a request", commit.sent, tree.sent, exact),
            *verdict.compare("run by the store", "commands a request", commit.run, tree.run, exact),
            *verdict.compare("append-only file", "bytes a request", commit.file_bytes, tree.file_bytes, exact),
            *verdict.compare("keys and values", "bytes a job", commit.stored, tree.stored, exact),
            *verdict.compare("memory", "bytes a job", commit.memory, tree.memory, max(exact, verdict.MEMORY_PERCENT)),
        ]

    def process(self, rounds: int) -> list[verdict.Comparison]:
        series = process.rounds(*self._sides, rounds, self._new("process"))
        return [
            verdict.compare_cpu(load, series.first[load], series.again[load], series.tree[load])
            for load in series.first
        ]

    def _new(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder


def say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr)


def measure(measuring: Measuring, parts: Sequence[str], quick: bool, report: Comparisons) -> list[str]:
    """Fill the report. Returns the parts that could not be measured."""
    missing = []
    if STORE in parts and instructions.valgrind() is None:
        report.sections.append(Section("The store", note="Not measured: valgrind is not installed."))
        missing.append(STORE)
    if STORE in parts or WEIGHTS in parts:
        measuring.record()
    if STORE in parts and STORE not in missing:
        report.add("The store", measuring.store(QUICK_REPLAYS if quick else REPLAYS), STORE_NOTE)
    if WEIGHTS in parts:
        report.add("Commands and bytes", measuring.weights(), WEIGHTS_NOTE)
    if PROCESS in parts:
        cores.pin(os.getpid(), PLAN.load)
        report.add("The process", measuring.process(QUICK_ROUNDS if quick else ROUNDS), PROCESS_NOTE)
    return missing


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.against", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rev", default="", help="commit to compare with (default: that of bench/BASELINE)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds and {QUICK_REPLAYS} replays")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure these parts and save nothing")
    parser.add_argument(
        "--lose", type=float, metavar="PERCENT", help="limit for the store, commands and bytes (default: 1, 0 and 0)"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    try:
        commit = commit_of(arguments.rev or baseline())
        return run(commit, arguments)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2


def run(commit: str, arguments: argparse.Namespace) -> int:
    """Measure, print and save. Returns the exit code."""
    report = Comparisons(f"The working tree against {commit[:9]}; {PLAN}")
    with tempfile.TemporaryDirectory(prefix="queuey-against-") as name:
        places = [Path(name) / place for place in ("commit", "tree", "runs")]
        for place in places:
            place.mkdir()
        with checked_out(commit, places[0]) as base:
            measuring = Measuring(base, working_tree(places[1]), places[2], arguments.lose)
            missing = measure(measuring, arguments.only, arguments.quick, report)
    print(report.markdown())
    if arguments.only == PARTS:
        print(f"saved as {report.save()}")
    failed = [comparison.name for comparison in report.comparisons if comparison.verdict == verdict.FAILED]
    for part in missing:
        print(f"{verdict.NOT_MEASURED}: {part}, since valgrind is not installed", file=sys.stderr)
    if failed:
        print(f"above the limit: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

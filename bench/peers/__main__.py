"""`python -m bench.peers [--only NAMES] [--runs N]`: one no-op job through Queuey and other job queues, side by side.

On the first run each peer gets an environment of its own in .bench/, from the lock files in bench/peers/requirements
and bench/peers/bullmq; that needs a package index, and BullMQ needs Node.js with npm. A peer that cannot be installed
or run is reported as not measured.

All use the same Valkey binary, the one that Queuey embeds, fresh for each measurement, on the loopback interface and
without an append-only file; Queuey is also measured as it is by default, synced before each reply. The peers take
turns within a run, so that a slower minute of the machine hits all of them. The report is printed and saved as
bench/results/peers.md and peers.json. A whole run takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from redis.exceptions import RedisError

from bench import cores
from bench.peers.catalog import PEERS, WIDE, Peer
from bench.peers.environments import CannotInstall, command_of, version_of
from bench.peers.results import Results, sections
from bench.peers.runner import Runner
from bench.report import Report
from bench.servers import PLAN
from queuey import __version__

ORDER = ("one", "bulk", "memory", "drain", "drain-wide", "pick-up")


async def measure(peers: list[Peer], runs: int) -> Results:
    """Every measurement of every peer, `runs` times, one after the other."""
    results = Results()
    runners = []
    for peer in peers:
        try:
            runners.append(Runner(peer, *command_of(peer)))
        except CannotInstall as error:
            results.fail(peer.name, str(error))
    cores.pin(os.getpid(), PLAN.load)
    for run in range(runs):
        for what in ORDER:
            for runner in runners:
                await _measure_one(runner, what, results, f"run {run + 1} of {runs}")
    return results


async def _measure_one(runner: Runner, what: str, results: Results, where: str) -> None:
    peer = runner.peer
    if what not in peer.measurements or peer.name in results.failed:
        return
    try:
        figures = await runner.measure(what)
    except (RuntimeError, RedisError, OSError, KeyError, ValueError) as error:
        results.fail(peer.name, f"{what}: {error}")
        print(f"{where}, {what}, {peer.name}: {error}", file=sys.stderr)
        return
    results.add(peer.name, figures)
    found = ", ".join(f"{name} {value:,.2f}" for name, value in figures.items())
    print(f"{where}, {what}, {peer.name}: {found}", file=sys.stderr)


def chosen(names: str) -> list[Peer]:
    """The peers whose names, in small letters, begin with one of these. Empty: all."""
    starts = tuple(name.strip().lower() for name in names.split(","))
    return [peer for peer in PEERS if peer.name.lower().startswith(starts)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="NAMES", help="only these peers: arq,bullmq,queuey")
    parser.add_argument("--runs", type=int, default=3, help="runs of each measurement (default 3)")
    arguments = parser.parse_args()
    peers = chosen(arguments.only)
    results = asyncio.run(measure(peers, arguments.runs))
    title = f"Queuey {__version__} and other job queues: concurrency 100 and {WIDE}, one worker process; {PLAN}"
    versions = {peer.name: version_of(peer) for peer in peers}
    report = Report("peers", title, sections(results, versions))
    path = report.save()
    print(f"{report.markdown()}\nsaved as {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

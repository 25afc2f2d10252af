"""`python -m bench.peers [--only NAMES] [--runs N]`: one no-op job through Queuey and other job queues, side by side.

On the first run each peer gets an environment of its own in .bench/, from the lock files in bench/peers/requirements,
bench/peers/bullmq and bench/peers/bunqueue; that needs a package index, and the last two need Node.js with npm.
pgqueuer needs PostgreSQL, and beanstalkd is a program of its own. A peer that cannot be installed or run is reported as
not measured, with what is missing.

Brokers, which programs reach over a socket, are measured beside Queuey's server: with each of them the report says what
an acknowledgement means, on disk or in memory.

All use the same Valkey binary, the one that Queuey embeds, fresh for each measurement, on the loopback interface and
without an append-only file; Queuey is also measured as it is by default, synced before each reply. The peers take
turns within a run, so that a slower minute of the machine hits all of them. The report is printed and saved as
bench/results/peers.md and peers.json. Three runs take about 25 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from subprocess import SubprocessError
from typing import TypeVar

import msgspec
import uvloop
from redis.exceptions import RedisError

from bench import cores
from bench.peers.brokers import measuring
from bench.peers.brokers.catalog import BROKERS, Broker
from bench.peers.brokers.report import sections as broker_sections
from bench.peers.catalog import PEERS, WIDE, Peer
from bench.peers.environments import CannotInstall, command_of, version_of
from bench.peers.results import Results, sections
from bench.peers.runner import Figures, Runner
from bench.report import Report
from bench.servers import PLAN
from queuey import __version__

ORDER = ("one", "enqueue-wide", "bulk", "memory", "drain", "drain-wide", "pick-up")


async def measure(peers: list[Peer], brokers: list[Broker], runs: int) -> Results:
    """Every measurement of every peer and broker, `runs` times, one after the other."""
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
        for broker in brokers:
            await _measure_broker(broker, results, f"run {run + 1} of {runs}")
    return results


async def _measure_broker(broker: Broker, results: Results, where: str) -> None:
    if broker.name in results.failed:
        return
    try:
        figures = await measuring.measure(broker)
    except (CannotInstall, RuntimeError, OSError, msgspec.MsgspecError) as error:
        results.fail(broker.name, str(error))
        print(f"{where}, {broker.name}: {error}", file=sys.stderr)
        return
    _report(f"{where}, {broker.name}", results, broker.name, figures)


def _report(where: str, results: Results, name: str, figures: Figures) -> None:
    results.add(name, figures)
    found = ", ".join(f"{figure} {value:,.2f}" for figure, value in figures.items())
    print(f"{where}: {found}", file=sys.stderr)


async def _measure_one(runner: Runner, what: str, results: Results, where: str) -> None:
    peer = runner.peer
    if what not in peer.measurements or peer.name in results.failed:
        return
    try:
        figures = await runner.measure(what)
    except (CannotInstall, RuntimeError, RedisError, OSError, KeyError, ValueError, SubprocessError) as error:
        results.fail(peer.name, f"{what}: {error}")
        print(f"{where}, {what}, {peer.name}: {error}", file=sys.stderr)
        return
    _report(f"{where}, {what}, {peer.name}", results, peer.name, figures)


Named = TypeVar("Named", Peer, Broker)


def chosen(names: str, of: Sequence[Named] = PEERS) -> list[Named]:
    """The peers or brokers whose names, in small letters, begin with one of these. Empty: all."""
    starts = tuple(name.strip().lower() for name in names.split(","))
    return [one for one in of if one.name.lower().startswith(starts)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="NAMES", help="only these: arq,bullmq,bunqueue,queuey")
    parser.add_argument("--runs", type=int, default=3, help="runs of each measurement (default 3)")
    arguments = parser.parse_args()
    peers, brokers = chosen(arguments.only), chosen(arguments.only, BROKERS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(measure(peers, brokers, arguments.runs))
    title = f"Queuey {__version__} and other job queues: concurrency 100 and {WIDE}, one worker process; {PLAN}"
    versions = {peer.name: version_of(peer) for peer in peers}
    report = Report("peers", title, [*broker_sections(results), *sections(results, versions)])
    path = report.save()
    print(f"{report.markdown()}\nsaved as {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

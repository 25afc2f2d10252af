"""`python -m bench.peers.schedulers [--only NAMES] [--schedules N]`: how late many schedules run that are due at once.

All schedules are due at one full minute, since Celery's crontab has no seconds. Each job notes when its handler began.
Counted are the jobs that began within a minute. Queuey has its own embedded store, synced before each reply; the others
have the same Valkey without an append-only file. A peer that cannot be installed or run is reported as not measured.
The report is printed and saved as bench/results/schedulers.md and schedulers.json. One run takes about 8 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import SubprocessError
from typing import Final, NamedTuple

from redis.exceptions import RedisError

from bench import cores
from bench.figures import filling
from bench.figures.scheduling import put_schedules
from bench.peers.catalog import PEERS
from bench.peers.environments import ROOT, CannotInstall, command_of, version_of
from bench.peers.stores import store
from bench.report import Report, Row, Section
from bench.servers import PLAN, Program, ended, server
from queuey import __version__
from queuey.protocol.models import JobRequest

HERE: Final = Path(__file__).parent
SCHEDULES: Final = 10_000
MINUTE: Final = 60
PUT_SECONDS: Final = 40
"""The time to make the schedules before they are due."""
LOOK_SECONDS: Final = 0.5


class Moment(NamedTuple):
    """The run of one peer: its folder, the number of schedules, and the second at which all are due."""

    folder: Path
    schedules: int
    tick: int

    @property
    def out(self) -> Path:
        """The file with a line for each job that has begun."""
        return self.folder / "out"

    def variables(self, url: str) -> dict[str, str]:
        """The variables of a script (scripts.py)."""
        numbers = {"BENCH_SCHEDULES": str(self.schedules), "BENCH_TICK": str(self.tick)}
        return {"BENCH_URL": url, "BENCH_OUT": str(self.out), "PYTHONPATH": str(ROOT), "TZ": "UTC", **numbers}

    def check_in_time(self, what: str) -> None:
        """Raise RuntimeError when the schedules were not made in time."""
        if time.time() >= self.tick:
            raise RuntimeError(f"{what} took longer than {PUT_SECONDS} s")

    async def over(self) -> None:
        """Wait until all jobs have begun, or for a minute after the tick."""
        while time.time() < self.tick + MINUTE and len(self.lateness()) < self.schedules:  # noqa: ASYNC110 - of processes
            await asyncio.sleep(LOOK_SECONDS)

    def lateness(self) -> list[float]:
        """The ms from the tick to each job that has begun."""
        return [float(line) for line in self.out.read_text().splitlines()]


async def queuey(moment: Moment) -> None:
    program = Program(variables=moment.variables(""), app="bench.peers.schedulers.queuey_app:app")
    at = time.gmtime(moment.tick)
    with server(moment.folder / "data", program=program) as served:
        async with filling.broker_at(served.store_url) as broker:
            await put_schedules(broker, [f"{at.tm_min} {at.tm_hour} * * *"] * moment.schedules, JobRequest("tick"))
        moment.check_in_time("putting the schedules")
        await moment.over()


async def saq(moment: Moment) -> None:
    async with store("plain") as running:
        with script(moment, running.url, "SAQ", "saq_script.py"):
            await moment.over()


async def celery(moment: Moment) -> None:
    async with store("plain") as running:
        with ExitStack() as stack:
            for verb in ("worker", "beat"):
                stack.enter_context(script(moment, running.url, "Celery", "celery_script.py", verb))
            await moment.over()


async def bullmq(moment: Moment) -> None:
    made = moment.folder / "out.put"
    async with store("plain") as running:
        with script(moment, running.url, "BullMQ", "bullmq_script.mjs"):
            while not made.exists():
                moment.check_in_time("upsertJobScheduler")
                await asyncio.sleep(LOOK_SECONDS)
            await moment.over()


@contextmanager
def script(moment: Moment, url: str, peer: str, name: str, *verb: str) -> Iterator[None]:
    """A script of a peer, which has ended after the block. Raises CannotInstall."""
    command, folder = command_of(next(one for one in PEERS if one.name == peer))
    log = moment.folder / f"{name}{''.join(verb)}.log"
    with ended([command[0], str(HERE / name), *verb], log, folder, moment.variables(url)) as process:
        cores.pin(process.pid, PLAN.load if verb == ("beat",) else PLAN.server)
        yield
        if process.poll() is not None:
            lines = [line.strip() for line in log.read_text().splitlines() if line.strip()]
            raise RuntimeError(f"{name} ended: {lines[-1][:300] if lines else 'it logged nothing'}")


SCHEDULERS: Final[dict[str, Callable[[Moment], Awaitable[None]]]] = {
    "Queuey": queuey,
    "SAQ": saq,
    "BullMQ": bullmq,
    "Celery": celery,
}


async def measure(name: str, schedules: int) -> list[float]:
    """The lateness of each job of one peer, in ms. Raises CannotInstall, RuntimeError and what a store raises."""
    with tempfile.TemporaryDirectory(prefix="queuey-schedulers-") as folder:
        moment = Moment(Path(folder), schedules, (int(time.time() + PUT_SECONDS) // MINUTE + 1) * MINUTE)
        moment.out.touch()
        await SCHEDULERS[name](moment)
        return moment.lateness()


def sections(
    found: dict[str, list[float]], failed: dict[str, str], schedules: int, versions: dict[str, str]
) -> list[Section]:
    """The report of these lists of lateness, and of the reasons why others are not there."""
    rows = [row for name, late in found.items() for row in _rows(f"{name} {versions[name]}", late)]
    note = f"{schedules:,} schedules, all due at one full minute; the time from the tick to the handler."
    parts = [Section("Schedules that are due at once", rows, note)]
    if failed:
        lines = [f"- {name}: not measured: {reason}" for name, reason in failed.items()]
        parts.append(Section("Not measured", note="\n".join(lines)))
    return parts


def _rows(name: str, late: Sequence[float]) -> list[Row]:
    within = [one for one in late if one <= 1e3 * MINUTE]
    rows = [Row(f"{name}: began within a minute", "jobs", [len(within)])]
    if len(within) > 1:
        cuts = statistics.quantiles(within, n=100)
        figures = {"p50": cuts[49], "p99": cuts[98], "at most": max(within)}
        rows += [Row(f"{name}: {what}, of these", "ms", [value]) for what, value in figures.items()]
    return rows


async def run(names: Sequence[str], schedules: int) -> list[Section]:
    """Measure one peer after the other."""
    found: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr)
        try:
            found[name] = await measure(name, schedules)
        except (CannotInstall, RuntimeError, RedisError, OSError, SubprocessError) as error:
            failed[name] = str(error)
    return sections(found, failed, schedules, {name: _version(name) for name in names})


def _version(name: str) -> str:
    return __version__ if name == "Queuey" else version_of(next(one for one in PEERS if one.name == name))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers.schedulers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="NAMES", help="only these: queuey,saq,bullmq,celery")
    parser.add_argument("--schedules", type=int, default=SCHEDULES, help=f"how many (default {SCHEDULES:,})")
    arguments = parser.parse_args()
    starts = tuple(name.strip().lower() for name in arguments.only.split(","))
    names = [name for name in SCHEDULERS if name.lower().startswith(starts)]
    cores.pin(os.getpid(), PLAN.load)
    parts = asyncio.run(run(names, arguments.schedules))
    report = Report("schedulers", f"Queuey {__version__} and other schedulers; {PLAN}", parts)
    path = report.save()
    print(f"{report.markdown()}\nsaved as {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

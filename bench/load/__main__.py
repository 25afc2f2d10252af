"""`python -m bench.load submit|ramp|soak [--seconds N]`: a fresh server, a load, a table; exit 1 below a threshold.

The server runs a worker too: the jobs that come in are worked off meanwhile. Needs node, and bench/load's packages.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench import cores
from bench.load.scenarios import MAX_SECONDS, SCENARIOS, Found, Scenario, Stage, broken, section
from bench.report import Report, Section
from bench.servers import PLAN, Served, server
from queuey import __version__

HERE: Final = Path(__file__).parent
BODY: Final = json.dumps({"type": "bench.noop", "payload": "x" * 98})
"""With a payload of 100 bytes."""
GRACE: Final = 30.0
"""Seconds that the load generator has beyond those of its stage."""


def run(scenario: Scenario, served: Served) -> list[Section]:
    """Every stage in turn, on one server."""
    sections = []
    for stage in scenario.stages:
        print(f"{stage}, {stage.seconds:g} s ...", file=sys.stderr)
        sections.append(section(scenario, stage, send(stage, served)))
    return sections


def send(stage: Stage, served: Served) -> Found:
    """One stage of load. Raises RuntimeError with what the load generator said when it failed."""
    request = {"url": f"http://{served.host}:{served.port}/v1/jobs", "headers": {}, "body": BODY}
    load = {"clients": stage.clients, "rate": stage.rate, "seconds": stage.seconds}
    command = ["node", str(HERE / "run.js"), json.dumps(request | load)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=stage.seconds + GRACE, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the load generator failed:\n{done.stderr}")
    return Found(**json.loads(done.stdout))


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MAX_SECONDS:,.0f}")
    return value


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--seconds", type=_seconds, help="of the whole scenario (submit 30, ramp 60, soak 120)")
    arguments = parser.parse_args()
    if shutil.which("node") is None:
        print("node is not here: install Node.js 20 or newer, which also brings npm.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    cores.pin(os.getpid(), PLAN.load)
    make = SCENARIOS[arguments.scenario]
    scenario = make(arguments.seconds) if arguments.seconds else make()
    with tempfile.TemporaryDirectory(prefix="queuey-load-") as folder, server(Path(folder) / "data") as served:
        sections = run(scenario, served)
    sections[0].note = scenario.note
    title = f"Queuey {__version__} under load, {scenario.name}: fsync always, concurrency 100; {PLAN}"
    report = Report(f"load-{scenario.name}", title, sections)
    path = report.save()
    print(f"{report.markdown()}\nsaved as {path}")
    faults = broken(sections)
    for fault in faults:
        print(f"threshold broken: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.faults`: rounds of faults, a line for each, and a report. Exit code 1 on any violation."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
from pathlib import Path

from tests.faults import report
from tests.faults.conductor import Plan, Result, play
from tests.faults.faults import FAULTS
from tests.faults.system import mounts


def main() -> int:
    arguments = _arguments()
    every = [name for name, fault in FAULTS.items() if arguments.long or not fault.is_long]
    names = arguments.fault.replace("_", "-").split(",") if arguments.fault else every
    if unknown := [name for name in names if name not in FAULTS]:
        print(f"There is no fault {', '.join(unknown)}. There are: {', '.join(FAULTS)}.", file=sys.stderr)
        return 2
    if any(FAULTS[name].own_mounts for name in names) and not mounts.inside() and mounts.possible():
        mounts.enter("-m", "tests.faults", *sys.argv[1:])
    missing = {name: tools for name in names if (tools := FAULTS[name].missing())}
    for name, tools in missing.items():
        print(f"Cannot be applied: {name} needs {', '.join(tools)}.", file=sys.stderr)
    if missing and os.environ.get("CI"):
        return 1
    names = [name for name in names if name not in missing]
    seed = arguments.seed or str(secrets.randbelow(100_000))
    rounds = (arguments.rounds or arguments.each * len(names)) if names else 0
    # One round alone plays the very seed given: so a round of a longer run is repeated by its own seed.
    plans = [
        Plan(names[n % len(names)], seed if rounds == 1 else f"{seed}.{n + 1}", shards=arguments.shards)
        for n in range(rounds)
    ]
    with asyncio.Runner() as runner:
        results = runner.run(_play_all(plans))
    print("\n" + report.table(results, seed, missing))
    if arguments.json:
        arguments.json.write_bytes(report.as_json(results, seed, missing))
    if len(results) < len(plans):
        return 130
    return 1 if any(result.violations for result in results) or not results else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=lambda text: int(text or 0), help="how many; by default each fault once")
    parser.add_argument("--each", type=int, default=1, help="rounds of each fault, where --rounds is not given")
    parser.add_argument("--seed", help="of a run, or of a single round to repeat it; by default a random one")
    parser.add_argument("--fault", help="only this one, or several with commas between")
    parser.add_argument("--shards", type=lambda text: int(text or 1), default=1, help="of the store; 1 by default")
    parser.add_argument("--long", action="store_true", help="play those too that take long")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser.parse_args()


async def _play_all(plans: list[Plan]) -> list[Result]:
    """Those that were played, when a signal comes."""
    cancel_at_first_signal()
    results: list[Result] = []
    try:
        for number, plan in enumerate(plans, 1):
            results.append(await play(plan))
            print(report.line(number, len(plans), results[-1]), flush=True)
            if results[-1].violations:
                print(report.complaints(results[-1]), flush=True)
    except asyncio.CancelledError:
        print("interrupted", flush=True)
    return results


def cancel_at_first_signal() -> None:
    """A second one must not interrupt the clearing up, which is bounded by itself."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    came = asyncio.Event()

    def stop() -> None:
        if not came.is_set():
            came.set()
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.faults.controls`: takes out one safeguard after the other. Passes only if every round turns red.

A suite that finds nothing proves nothing, unless it finds what is known to be wrong: by the invariant that is broken,
and not by any failure.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
from typing import Final

from tests.faults.__main__ import cancel_at_first_signal
from tests.faults.conductor import Plan, play
from tests.faults.controls.one_anchor import claim_during_move
from tests.faults.controls.variants import CONTROLS, Control
from tests.faults.evidence.invariants import Violation
from tests.faults.faults import FAULTS
from tests.faults.report import commit

TRIES: Final = 3
"""Rounds of one control. A fault may hit a moment at which there is nothing to lose."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.controls", description=__doc__)
    parser.add_argument("--seed", help="of the whole run; by default a random one")
    seed = parser.parse_args().seed or str(secrets.randbelow(100_000))
    missing = {control.name: FAULTS[control.fault].missing() for control in CONTROLS}
    for name, tools in missing.items():
        if tools:
            print(f"Cannot be tried: {name} needs {', '.join(tools)}.", file=sys.stderr)
    if any(missing.values()):
        return 1
    print(f"Seed {seed}, commit {commit()}. Each line must be red.", flush=True)
    with asyncio.Runner() as runner:
        red = runner.run(_try_all(seed))
    print("all are red" if all(red) else "NOT ALL ARE RED")
    return 0 if all(red) else 1


async def _try_all(seed: str) -> list[bool]:
    cancel_at_first_signal()
    try:
        red = [await is_red(control, seed) for control in CONTROLS]
        return [*red, await _one_anchor_is_red()]
    except asyncio.CancelledError:
        print("interrupted", flush=True)
        return [False]


async def is_red(control: Control, seed: str) -> bool:
    for number in range(1, TRIES + 1):
        result = await play(Plan(control.fault, f"{seed}.{number}", control.variant))
        if result.kept is not None:
            shutil.rmtree(result.kept, ignore_errors=True)
        as_it_must = [found for found in result.violations if is_expected(control, found)]
        if as_it_must:
            _tell(control.name, as_it_must, len(result.violations), f"round {number}, {control.fault}")
            return True
        others = "; ".join(f"{found.invariant}: {found.message}" for found in result.violations[:3]) or "nothing"
        print(f"  not red in round {number} ({result.detail}): found {others}", flush=True)
    print(
        f"GREEN  {control.name}: {TRIES} rounds of {control.fault}, and invariant {control.invariant} held", flush=True
    )
    return False


def is_expected(control: Control, found: Violation) -> bool:
    return found.invariant == control.invariant and control.message in found.message


async def _one_anchor_is_red() -> bool:
    """And with both anchors, as all scripts are called, it must be green."""
    name = "a single KEYS anchor under slot migration"
    answer, violations = await claim_during_move(anchors=2)
    if answer != "TRYAGAIN" or violations:
        print(f"GREEN  {name}: with both anchors the claim got {answer}, and then {violations}", flush=True)
        return False
    answer, violations = await claim_during_move(anchors=1)
    as_it_must = [found for found in violations if found.invariant == 1 and "is waiting" in found.message]
    if not as_it_must:
        print(f"GREEN  {name}: the claim got {answer}, and then {violations}", flush=True)
        return False
    _tell(name, as_it_must, len(violations), f"the claim got {answer}; with both anchors TRYAGAIN, and nothing is lost")
    return True


def _tell(name: str, as_it_must: list[Violation], all_found: int, where: str) -> None:
    first = as_it_must[0]
    share = f"{len(as_it_must)} of {all_found} violations"
    print(f"red    {name}: by invariant {first.invariant}, {share}, such as: {first.message} ({where})", flush=True)


if __name__ == "__main__":
    sys.exit(main())

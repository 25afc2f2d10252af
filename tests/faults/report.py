"""What many rounds came to, as a table for people and as JSON."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

import msgspec

from tests.faults.conductor import Result
from tests.faults.system.rig import ROOT

SHOWN = 20
"""Violations of one round that are printed."""

COLUMNS = {
    "rounds": "rounds",
    "landed": "landed with jobs in flight",
    "in_flight": "jobs in flight",
    "acknowledged": "ids acknowledged",
    "unknown": "unknown",
    "unknown_landed": "of these landed",
    "lost": "lost",
    "forgotten": "forgotten by a store that may",
    "double_terminal": "finished twice",
    "items": "items of batches",
    "ticks": "jobs of schedules",
    "executions": "executions",
    "pulled": "of these by pull workers",
    "duplicates": "duplicate executions",
    "recovery": "longest recovery, s",
    "violations": "violations",
}


def line(number: int, rounds: int, result: Result) -> str:
    """One round, on one line."""
    verdict = f"{len(result.violations)} VIOLATIONS" if result.violations else "ok"
    return (
        f"{number:3}/{rounds} {result.plan.fault:22} seed {result.plan.seed:8} {result.seconds:5.1f} s  "
        f"{result.in_flight:2} in flight  {result.acknowledged:3} acknowledged  {result.unknown:2} unknown  "
        f"{result.items:3} items  {result.ticks:3} ticks  "
        f"{result.duplicates:2} duplicates  recovery {result.recovery:4.1f} s  {verdict}  ({result.detail})"
    )


def complaints(result: Result) -> str:
    """What was wrong with a round, and where its ledger and logs are."""
    shown = [f"    invariant {number}: {message}" for number, message in result.violations[:SHOWN]]
    if len(result.violations) > SHOWN:
        shown.append(f"    and {len(result.violations) - SHOWN} more")
    return "\n".join([*shown, f"    ledger and logs: {result.kept}"])


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """The sums over some rounds; of the recovery, the longest."""
    return {
        "rounds": len(results),
        "landed": sum(result.in_flight > 0 for result in results),
        "in_flight": sum(result.in_flight for result in results),
        "acknowledged": sum(result.acknowledged for result in results),
        "unknown": sum(result.unknown for result in results),
        "unknown_landed": sum(result.landed for result in results),
        "lost": sum(result.lost for result in results),
        "forgotten": sum(result.forgotten for result in results),
        "double_terminal": sum(result.double_terminal for result in results),
        "items": sum(result.items for result in results),
        "ticks": sum(result.ticks for result in results),
        "executions": sum(result.executions for result in results),
        "pulled": sum(result.pulled for result in results),
        "duplicates": sum(result.duplicates for result in results),
        "recovery": round(max((result.recovery for result in results), default=0.0), 1),
        "violations": sum(len(result.violations) for result in results),
    }


def table(results: Sequence[Result], seed: str, missing: dict[str, list[str]]) -> str:
    """Markdown: a row per fault, and one for all."""
    names = list(dict.fromkeys(result.plan.fault for result in results))
    rows = {name: figures([result for result in results if result.plan.fault == name]) for name in names}
    rows["all"] = figures(results)
    lines = [f"Seed {seed}, commit {commit()}.", "", f"| fault | {' | '.join(COLUMNS.values())} |"]
    lines.append(f"| --- {'| --- ' * len(COLUMNS)}|")
    lines += [f"| {name} | {' | '.join(str(row[key]) for key in COLUMNS)} |" for name, row in rows.items()]
    lines += ["", *(f"Not applied: {name}, which needs {', '.join(tools)}." for name, tools in missing.items())]
    return "\n".join(lines)


def as_json(results: Sequence[Result], seed: str, missing: dict[str, list[str]]) -> bytes:
    """All figures, those of single rounds included."""
    rounds = [
        {
            "fault": result.plan.fault,
            "seed": result.plan.seed,
            "detail": result.detail,
            "seconds": round(result.seconds, 1),
            **figures([result]),
            "messages": [f"{number}: {message}" for number, message in result.violations[:SHOWN]],
        }
        for result in results
    ]
    report = {"seed": seed, "commit": commit(), "all": figures(results), "not_applied": missing, "rounds": rounds}
    return msgspec.json.format(msgspec.json.encode(report)) + b"\n"


def commit() -> str:
    """The checkout's, with a + when it holds changes; 'unknown' outside of one."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()

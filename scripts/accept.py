"""Run the commands that docs/acceptance.md lists for one issue, and say which pass.

Below a heading such as `## Issue 2` the page has table rows `| point | what shows it | `command` |`. A cell
may name several commands; a pipe inside a command is written `\\|`. Each command runs once, in page order, in
a shell at the top of the repository. Exit code 1 if one fails, 2 if the page lists nothing to run.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "acceptance.md"
TIMEOUT_SECONDS = 1800.0
SHOWN_BYTES = 4000  # of the output of a command that failed


class PageError(Exception):
    """The page does not list the issue, or one of its rows has no command."""


class Outcome(NamedTuple):
    passed: bool
    seconds: float
    output: str
    """The end of the output of a failed command."""


def commands_by_points(page: str, issue: int) -> dict[str, list[str]]:
    """Return the commands of the issue, each with the points that it shows, in the order of the page.

    Raises PageError if there is no such heading, no row below it, or a row without a command.
    """
    commands: dict[str, list[str]] = {}
    for cells in _rows(_section(page, issue)):
        found = re.findall(r"`([^`]+)`", cells[-1])
        if not found:
            raise PageError(f"issue {issue}, point {cells[0]}: the last cell names no command")
        for command in found:
            commands.setdefault(command, []).append(cells[0])
    if not commands:
        raise PageError(f"no command is listed for issue {issue}")
    return commands


def _section(page: str, issue: int) -> str:
    heading = re.compile(rf"^## Issue {issue}\b.*?$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    found = heading.search(page)
    if found is None:
        raise PageError(f"there is no heading '## Issue {issue}'")
    return found.group(1)


def _rows(section: str) -> list[list[str]]:
    """Return the cells of every table row after the head, which ends with a line of dashes."""
    rows: list[list[str]] = []
    for line in section.splitlines():
        if not line.lstrip().startswith("|"):
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            del rows[-1:]
        else:
            rows.append(cells)
    return rows


def run(command: str, timeout: float) -> Outcome:
    """Run the command in a shell. After `timeout` seconds it is killed with its child processes."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            command,
            shell=True,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that a kill reaches all of its processes
        )
        try:
            code = child.wait(timeout)
            note = f"exit code {code}\n"
        except subprocess.TimeoutExpired:
            code = -1
            note = f"stopped after {timeout:.0f} s\n"
        finally:
            _kill_group(child)
        seconds = time.monotonic() - started
        return Outcome(code == 0, seconds, "" if code == 0 else _end_of(output) + note)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    child.wait()


def _end_of(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - SHOWN_BYTES))
    return output.read().decode(errors="replace")


def accept(page: str, issue: int, timeout: float = TIMEOUT_SECONDS) -> bool:
    """Run every command of the issue and print a line for each. Return whether all passed."""
    failures = 0
    commands = commands_by_points(page, issue)
    for command, points in commands.items():
        outcome = run(command, timeout)
        verdict = "pass" if outcome.passed else "FAIL"
        shows = ", ".join(dict.fromkeys(points))
        print(f"{verdict}  {outcome.seconds:6.1f} s  {command}  (point {shows})", flush=True)
        if not outcome.passed:
            failures += 1
            print("".join(f"      {line}\n" for line in outcome.output.splitlines()), end="", flush=True)
    print(f"issue {issue}: {len(commands) - failures} of {len(commands)} commands passed")
    return failures == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="make accept", description="Run an issue's acceptance commands.")
    parser.add_argument("issue", type=int, help="Number of the issue, as in: make accept N=2.")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, help="Timeout of one command in seconds.")
    options = parser.parse_args(arguments)
    try:
        return 0 if accept(PAGE.read_text(encoding="utf-8"), options.issue, options.timeout) else 1
    except (PageError, OSError) as error:
        print(f"{PAGE.name}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

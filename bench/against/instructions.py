"""Replays a recording to a store under callgrind, and reads the instructions of every call."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.against.checkout import Revision
from bench.against.recording import Recording
from bench.against.store import Client, store

COUNTED: Final = "processCommand"
"""The store's function around one command: not called again by what scripts call, so its instructions are the call's.
Reading and writing the socket are outside, and so is the write to the append-only file."""
WHOLE: Final = "all of these calls, with the collections of garbage"
DUMP_PREFIX: Final = "callgrind.out"

ALLOCATOR: Final = ("/malloc.c", "/arena.c")
"""The source files of the C library's allocator, whose names valgrind's Debian package brings with it."""

_PART = re.compile(r"^part: (\d+)$", re.MULTILINE)
_TRIGGER = re.compile(r"^desc: Trigger: (.*)$", re.MULTILINE)
_TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)
_POSITION: Final = frozenset("0123456789+-*")
_FILE = re.compile(r"(?P<kind>c?f[lie])=\((?P<number>\d+)\)(?: (?P<name>.*))?")


class Count(NamedTuple):
    """The instructions of a command: all of them, and those outside the allocator."""

    all: int
    own: int


def valgrind() -> str | None:
    """The path of valgrind, if it is installed."""
    return shutil.which("valgrind")


def replay(revision: Revision, recording: Recording, folder: Path) -> list[Count]:
    """The instructions of every command of the recording.

    Raises RuntimeError when a command is refused, or when the store's binary has no such function to count."""
    under = command_line(folder)
    with store(revision.store, folder / "store", under) as path, Client(path) as client:
        for sent in recording.sent:
            client.ask(sent.command)
    return complete_counts(folder, recording)


def complete_counts(folder: Path, recording: Recording) -> list[Count]:
    """The instructions of every command of a recording that was sent to a store under callgrind.

    Raises RuntimeError when there are more or fewer of them."""
    found = counts(folder.glob(f"{DUMP_PREFIX}*"))
    if len(found) != len(recording.sent):
        raise RuntimeError(
            f"callgrind counted {len(found)} commands of {len(recording.sent)}. "
            f"Check that the store's binary has the function {COUNTED} (nm)."
        )
    return found


def command_line(folder: Path, whole: bool = False) -> list[str]:
    """How valgrind is called: it writes a file after each command.

    `whole`: with what the process did since the command before. Otherwise the command itself is counted."""
    only = () if whole else ("--collect-atstart=no", f"--toggle-collect={COUNTED}")
    return [
        *("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder / DUMP_PREFIX}"),
        *(*only, f"--dump-after={COUNTED}"),
    ]


def counts(dumps: Iterable[Path]) -> list[Count]:
    """The instructions of every command in order, from the files that callgrind wrote after each."""
    found = {}
    for dump in dumps:
        text = dump.read_text(errors="replace")
        part, count = parse(text)
        if count is not None:
            found[part] = count
    return [found[part] for part in sorted(found)]


def parse(text: str) -> tuple[int, Count | None]:
    """The number of a dump and the instructions in it; None for one that no command has caused.

    Raises RuntimeError for a text that is no dump."""
    part, trigger, totals = _PART.search(text), _TRIGGER.search(text), _TOTALS.search(text)
    if part is None or totals is None:
        raise RuntimeError(f"This is no output of callgrind: {text[:200]!r}")
    if trigger is None or not trigger[1].startswith("--dump-after"):
        return int(part[1]), None
    return int(part[1]), Count(int(totals[1]), int(totals[1]) - _of_allocator(text))


def _of_allocator(text: str) -> int:
    """The instructions of the allocator's own lines in a dump.

    `fl`, `fi` and `fe` name the file of the lines after them, by a number that the first mention explains; a line is a
    position and a count. The line after `calls` is what was called, which has lines of its own."""
    files: dict[str, str] = {}
    spent, is_counted, is_of_callee = 0, False, False
    for line in text.splitlines():
        if found := _FILE.match(line):
            if found["name"]:
                files[found["number"]] = found["name"]
            if not found["kind"].startswith("c"):
                is_counted = files.get(found["number"], "").endswith(ALLOCATOR)
        elif line.startswith("calls="):
            is_of_callee = True
        elif line[:1] in _POSITION and line:
            if is_counted and not is_of_callee:
                spent += int(line.split()[1])
            is_of_callee = False
    return spent


def per_call(recording: Recording, replays: Sequence[Sequence[Count]]) -> dict[str, float]:
    """What a plain request of each step takes in all replays, and under `WHOLE` the median sum of all steps.

    A request may also pay for a collection of garbage or the growth of a table, which can cost as much as ten of it,
    and falls to another one each time. So the step is judged by its cheapest request. The allocator's part is left out
    too: with one script more in the store it finds a free piece at once or after a walk, which has moved the same
    request by 7 %, and without it by 0.2 %. The sum has all of that in it."""
    calls: dict[str, list[int]] = {step.name: [] for step in recording.steps if step.calls}
    sums = []
    for counted in replays:
        per_request: Counter[tuple[int, int]] = Counter()
        whole = 0
        for sent, one in zip(recording.sent, counted, strict=True):
            if sent.step >= 0 and recording.steps[sent.step].calls:
                per_request[sent.step, sent.call] += one.own
                whole += one.all
        for (step, _), total in per_request.items():
            calls[recording.steps[step].name].append(total)
        sums.append(whole)
    return {**{name: min(totals) for name, totals in calls.items()}, WHOLE: median(sums)}

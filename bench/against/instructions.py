"""Replays a recording to a store under callgrind, and reads the instructions of every call."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.against.checkout import Revision
from bench.against.recording import Command, Recording, Sent
from bench.against.store import Client, store

COUNTED: Final = "processCommand"
"""The store's function around one command: not called again by what scripts call, so its instructions are the call's.
Reading and writing the socket are outside, and so is the write to the append-only file."""
WHOLE: Final = "all of these calls, with the collections of garbage"
DUMP_PREFIX: Final = "callgrind.out"

ALLOCATOR: Final = ("/malloc.c", "/arena.c")
"""The source files of the C library's allocator, whose names valgrind's Debian package brings with it."""

STOP: Final[Command] = (b"EVAL", b"collectgarbage('stop')", b"0")
"""Stops the collector of the scripts' garbage. The store has it go on every 50 scripts."""

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


def uncollected(recording: Recording) -> Recording:
    """The same session, with the collector stopped before each request. `STOP` belongs to no step."""
    sent: list[Sent] = []
    for number, one in enumerate(recording.sent):
        before = recording.sent[number - 1] if number else None
        if before is None or (before.step, before.call) != (one.step, one.call):
            sent.append(Sent(-1, -1, STOP))
        sent.append(one)
    return Recording(recording.steps, sent)


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
    """What a plain request of each step takes in all replays, which were made of `uncollected`.

    A collection of garbage may cost as much as ten requests, and the allocator finds a free piece at once or after a
    walk: which request pays depends on all that lies in the store's memory. One script more in it, which nothing calls,
    has moved a request by 7 % with both, by 1.1 % with the collector, and by 0.24 % without the two. A request may
    still pay for the growth of a table, so the figure is the cheapest one."""
    calls: dict[str, list[int]] = {step.name: [] for step in recording.steps if step.calls}
    for counted in replays:
        per_request: Counter[tuple[int, int]] = Counter()
        for sent, one in _judged(recording, counted):
            per_request[sent.step, sent.call] += one.own
        for (step, _), total in per_request.items():
            calls[recording.steps[step].name].append(total)
    return {name: min(totals) for name, totals in calls.items()}


def in_all(recording: Recording, replays: Sequence[Sequence[Count]]) -> dict[str, float]:
    """What all requests of the session take, with the collector and the allocator: the median of the replays."""
    return {WHOLE: median(sum(one.all for _, one in _judged(recording, counted)) for counted in replays)}


def _judged(recording: Recording, counted: Sequence[Count]) -> Iterator[tuple[Sent, Count]]:
    for sent, one in zip(recording.sent, counted, strict=True):
        if sent.step >= 0 and recording.steps[sent.step].calls:
            yield sent, one

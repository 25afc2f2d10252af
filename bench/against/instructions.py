"""Replays a recording to a store under callgrind, and reads the instructions of every call."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from bench.against.checkout import Revision
from bench.against.recording import Recording
from bench.against.store import Client, store

COUNTED: Final = "processCommand"
"""The store's function around one command: not called again by what scripts call, so its instructions are the call's.
Reading and writing the socket are outside, and so is the write to the append-only file."""
WHOLE: Final = "all of these calls, with the collections of garbage"
CHEAP_PERCENT: Final = 5
DUMP_PREFIX: Final = "callgrind.out"

_PART = re.compile(r"^part: (\d+)$", re.MULTILINE)
_TRIGGER = re.compile(r"^desc: Trigger: (.*)$", re.MULTILINE)
_TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def valgrind() -> str | None:
    """The path of valgrind, if it is installed."""
    return shutil.which("valgrind")


def replay(revision: Revision, recording: Recording, folder: Path) -> list[int]:
    """The instructions of every command of the recording.

    Raises RuntimeError when a command is refused, or when the store's binary has no such function to count."""
    under = command_line(folder)
    with store(revision.store, folder / "store", under) as path, Client(path) as client:
        for sent in recording.sent:
            client.ask(sent.command)
    return complete_counts(folder, recording)


def complete_counts(folder: Path, recording: Recording) -> list[int]:
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


def counts(dumps: Iterable[Path]) -> list[int]:
    """The instructions of every command in order, from the files that callgrind wrote after each."""
    found = {}
    for dump in dumps:
        text = dump.read_text(errors="replace")
        part, instructions = parse(text)
        if instructions is not None:
            found[part] = instructions
    return [found[part] for part in sorted(found)]


def parse(text: str) -> tuple[int, int | None]:
    """The number of a dump and the instructions in it; None for one that no command has caused.

    Raises RuntimeError for a text that is no dump."""
    part, trigger, totals = _PART.search(text), _TRIGGER.search(text), _TOTALS.search(text)
    if part is None or totals is None:
        raise RuntimeError(f"This is no output of callgrind: {text[:200]!r}")
    caused = trigger is not None and trigger[1].startswith("--dump-after")
    return int(part[1]), int(totals[1]) if caused else None


def per_call(recording: Recording, replays: Sequence[Sequence[int]]) -> dict[str, float]:
    """What a plain request of each step takes in all replays, and under `WHOLE` the median sum of all steps.

    A request may also pay for a collection of garbage, the growth of a table or a walk of the allocator, which can cost
    as much as ten of it, and falls to another one each time. So the step is judged by its cheap requests (`plain`),
    which repeat to half a percent where the median differs by five. The sum has all of that in it."""
    calls: dict[str, list[int]] = {step.name: [] for step in recording.steps if step.calls}
    sums = []
    for counted in replays:
        per_request: Counter[tuple[int, int]] = Counter()
        for sent, one in zip(recording.sent, counted, strict=True):
            if sent.step >= 0 and recording.steps[sent.step].calls:
                per_request[sent.step, sent.call] += one
        for (step, _), total in per_request.items():
            calls[recording.steps[step].name].append(total)
        sums.append(per_request.total())
    return {**{name: plain(totals) for name, totals in calls.items()}, WHOLE: median(sums)}


def plain(totals: Sequence[int]) -> int:
    """The value below which a twentieth of them is. Not the lowest, which may be a lucky one."""
    return sorted(totals)[len(totals) * CHEAP_PERCENT // 100]

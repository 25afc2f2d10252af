"""Samples the stack of the process that imports it: the App of a server that `bench.profile` looks at.

A signal starts the sampling and another one ends it and writes what was found. The samples come by the CPU time of the
process, so that time in which it waits does not count.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import ClassVar, Final

from bench.noop import app

__all__ = ["OUTPUT", "Stacks", "app"]

OUTPUT: Final = "BENCH_STACKS"
"""The variable that names the file; without it nothing is sampled."""
EVERY_SECONDS: Final = 0.001
"""Of CPU time. The kernel may tick more rarely."""
MOST_FRAMES: Final = 100


class Stacks:
    """Counts functions by their own samples, and by those of which they are somewhere on the stack."""

    TOGGLE: ClassVar = signal.SIGUSR2

    def __init__(self, output: Path) -> None:
        self._output = output
        self._own: Counter[str] = Counter()
        self._whole: Counter[str] = Counter()
        self._running = False

    def toggle(self, number: int, frame: FrameType | None) -> None:
        """Begin, or end and write the file."""
        self._running = not self._running
        every = EVERY_SECONDS if self._running else 0
        signal.setitimer(signal.ITIMER_PROF, every, every)
        if not self._running:
            part = self._output.with_suffix(".part")
            part.write_text(json.dumps({"own": self._own, "whole": self._whole}))
            part.rename(self._output)

    def sample(self, number: int, frame: FrameType | None) -> None:
        """Count the functions that are on the stack now, each once."""
        seen: set[str] = set()
        while frame is not None and len(seen) < MOST_FRAMES:
            name = self._name(frame)
            if not seen:
                self._own[name] += 1
            seen.add(name)
            frame = frame.f_back
        self._whole.update(seen)

    @staticmethod
    def _name(frame: FrameType) -> str:
        code = frame.f_code
        return f"{code.co_qualname} ({'/'.join(Path(code.co_filename).parts[-2:])})"


def install() -> None:
    """In the server that has the variable; signals are for its main thread, which runs the event loop."""
    output = os.environ.get(OUTPUT)
    if output is not None:
        stacks = Stacks(Path(output))
        signal.signal(Stacks.TOGGLE, stacks.toggle)
        signal.signal(signal.SIGPROF, stacks.sample)


install()

"""Which process runs on which core, so that two runs differ in what is measured and not in what the scheduler chose.

With two cores the server under measurement has one to itself, and the store shares the other with the load generator,
which waits while the store works. With three or more each has its own. Where the system cannot pin, nothing is pinned.
And how much of a core a process has used.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

Cores = frozenset[int]


@dataclass(frozen=True)
class Plan:
    """`server`, `store` and `load` each have a core; `every` is all that there are. Empty: not pinned."""

    server: Cores
    store: Cores
    load: Cores
    every: Cores

    def __str__(self) -> str:
        if not self.every:
            return "nothing is pinned to a core"
        parts = (("server", self.server), ("store", self.store), ("load generator", self.load))
        return ", ".join(f"{name} on core {'+'.join(map(str, sorted(cores)))}" for name, cores in parts)


def plan() -> Plan:
    """For the cores that this process may use, as it was started."""
    if not hasattr(os, "sched_setaffinity"):
        nothing: Cores = frozenset()
        return Plan(nothing, nothing, nothing, nothing)
    every = sorted(os.sched_getaffinity(0))
    store, server, load = (every[0], every[-1], every[1] if len(every) > 2 else every[0])
    return Plan(frozenset({server}), frozenset({store}), frozenset({load}), frozenset(every))


def pin(pid: int, cores: Cores) -> None:
    """Every thread of a process; its later children and threads inherit it. An empty set changes nothing."""
    if not cores:
        return
    with suppress(ProcessLookupError, FileNotFoundError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def cpu_seconds(pid: int) -> float:
    """The user and system time of a process and all its threads so far. Linux only.

    By the process's CPU clock (clock_getcpuclockid), which counts nanoseconds where /proc counts hundredths."""
    return time.clock_gettime((~pid << 3) | 2)

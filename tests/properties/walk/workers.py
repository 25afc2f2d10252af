"""The workers of the walk: each decides as a replica or a pull worker does what it asks for, and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from queuey.store.asides import ANY, Room, Wanted

ROUND_MS = 2_000
"""A worker claims at least this often, whether or not a marker woke it."""
EXECUTOR_OF = {"a1": "async", "a2": "async", "t1": "thread", "t2": "thread", "p1": "process", "x2": "thread"}
"""By type. The others are async."""
PRIORITY_OF = {"h": "high", "d": "default", "l": "low"}
Names = Mapping[str, frozenset[tuple[str, str]]]
"""The lists set aside by queue, as (lane, type)."""


def read_names(told: Iterable[tuple[str, str]]) -> Names:
    return {queue: frozenset((PRIORITY_OF[name[0]], name[2:]) for name in text.split()) for queue, text in told}


@dataclass
class Lease:
    token: str
    type: str
    executor: str
    ends_at: int


@dataclass
class Worker:
    name: str
    types: frozenset[str]
    slots: Mapping[str, int]
    pull: bool = False
    """A pull worker names its types with each claim; without types it takes every type."""
    held: dict[str, Lease] = field(default_factory=dict)
    names: Names = field(default_factory=dict)
    is_hot: bool = True
    """Whether it is about to claim."""
    round_at: int = 0
    woken: set[str] = field(default_factory=set)
    has_met_unknown: bool = False
    looks_at_rest: bool = True
    contacts: set[str] = field(default_factory=set)

    @property
    def takes_all(self) -> bool:
        return self.pull and not self.types

    def executor_of(self, type_name: str) -> str:
        return "async" if self.takes_all else EXECUTOR_OF.get(type_name, "async")

    def knows(self, type_name: str) -> bool:
        return self.takes_all or type_name in self.types

    def free(self) -> dict[str, int]:
        used = Counter(lease.executor for lease in self.held.values())
        return {executor: slots - used[executor] for executor, slots in self.slots.items()}

    @property
    def room(self) -> int:
        return sum(self.free().values())

    def can_begin(self, type_name: str) -> bool:
        return self.knows(type_name) and self.free().get(self.executor_of(type_name), 0) > 0

    def wanted(self) -> Wanted | None:
        """The terms of its next claim; None = every type."""
        free, woken = self.free(), tuple(sorted(self.woken))
        take = self._lists(self.can_begin)
        if self.takes_all:
            return Wanted(take=take, woken=woken) if self.names else None
        if self.pull:
            return Wanted(room=[Room(self.room, sorted(self.types))], others=False, take=take, woken=woken)
        knows_of_others = self.has_met_unknown or any(self.names.values())
        if not knows_of_others and len(self.slots) == 1:
            return None
        by_executor = {name: sorted(t for t in self.types if self.executor_of(t) == name) for name in self.slots}
        room = [Room(free[name], types) for name, types in by_executor.items()]
        return Wanted(room=room, others=not knows_of_others, take=take, woken=woken)

    def _lists(self, may_take: Callable[[str], bool]) -> dict[str, list[tuple[str, str]]]:
        found = {}
        for queue, names in self.names.items():
            mine = [(lane, name) for lane, name in names if (self.looks_at_rest if name == ANY else may_take(name))]
            if mine:
                found[queue] = sorted(mine)
        return found

    def learn(self, names: Names) -> None:
        """Take the names of a reply or a message. Those of new types that it can begin make it claim again."""
        for queue, lists in names.items():
            if any(name != ANY and self.can_begin(name) for _, name in lists - self.names.get(queue, frozenset())):
                self.is_hot = True
        self.names = {**self.names, **names}

    def waits_for(self, queue: str) -> list[str]:
        """The types of a queue whose markers wake it, besides that of the queue."""
        return sorted({name for _, name in self.names.get(queue, ()) if name != ANY and self.can_begin(name)})

    def freed(self, executor: str) -> None:
        """A slot became free: it claims again if it was told of a list that waits for such a slot."""
        names = {name for lists in self.names.values() for _, name in lists}
        if any(name != ANY and self.knows(name) and self.executor_of(name) == executor for name in names):
            self.is_hot = True

"""The types that a request for leases takes, and the room that its worker has for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from queuey.protocol.models import LeaseRequest
from queuey.store.asides import Room


class Terms:
    """The terms of a request that names types: how many jobs of which types its worker can begin."""

    def __init__(self, asked: LeaseRequest) -> None:
        """`asked` names types, or has room, whose types count as named too."""
        room = [(entry.jobs, entry.types) for entry in asked.room or ()]
        within = {name for _, types in room for name in types}
        others = [name for name in asked.types or () if name not in within]
        self._entries = [*room, *([(asked.max, others)] if others else [])]
        self._entry_of = {name: place for place, (_, types) in enumerate(self._entries) for name in types}
        self.named = frozenset(self._entry_of)
        """All types that the worker knows."""
        self.able = frozenset(name for jobs, types in self._entries if jobs for name in types)
        """The types of which it can begin a job."""

    def room(self, taken: Iterable[str] = ()) -> Sequence[Room]:
        """Return the room for a claim. `taken`: the types of the jobs that the request has claimed before."""
        left = [jobs for jobs, _ in self._entries]
        for name in taken:
            if name in self._entry_of:
                left[self._entry_of[name]] -= 1
        return [Room(max(0, jobs), types) for jobs, (_, types) in zip(left, self._entries, strict=True)]

    def limit(self, types: Collection[str]) -> int:
        """Return how many jobs may come, if each may be of any of these types."""
        entries = {self._entry_of.get(name, -1) for name in types}
        return 0 if -1 in entries else min((self._entries[place][0] for place in entries), default=0)


def terms_of(asked: LeaseRequest) -> Terms | None:
    """Return the terms of a request; None if it takes every type."""
    return Terms(asked) if asked.types or asked.room else None

"""The terms of a claim: what the claimer can begin, and the lists set aside from which it may claim.

A list set aside has the waiting jobs of one type of a lane. They were taken out of the lane because a worker that met
them could not begin them: docs/adr/0019.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

MAX_ROOM_TYPES: Final = 1_000
"""The most types that a claim names."""
ANY: Final = "*"
"""The type of the list, one for each lane, that has the jobs of types for which there were too many names."""

SUSPECTS: Final = "!"
"""The type of the list, one for each lane, that has the jobs with two crashes or more, whatever their type."""

ELSEWHERE: Final = -1
"""Replaces the number of suspects that a claimer can isolate: it has no child processes, and jobs of other shards."""

Told = Sequence[tuple[str, str]]
"""The names of the lists set aside, by queue: `[("mail", " d:invoice l:report")]`, a lane's letter and a type each."""


class Room(Struct, array_like=True, frozen=True):
    """The free room of one executor."""

    jobs: int
    """The number of jobs that can begin now."""
    types: Sequence[str]
    """The types that need this executor."""


class Wanted(Struct, frozen=True, kw_only=True):
    """The limits of a claim that does not take every type."""

    room: Sequence[Room] = ()
    """Jobs of a type beyond the room of its entry are set aside. Empty: any type, up to the limit."""
    others: bool = True
    """Whether types that no entry of `room` names are claimed too."""
    take: Mapping[str, Sequence[tuple[str, str]]] = {}
    """The lists set aside to claim from, by queue, each as (lane, type)."""
    woken: Sequence[str] = ()
    """The types whose markers this claimer has taken. They are put back where jobs are left."""


MAX_KNOWN: Final = 50_000
"""The most queues of all shards whose names are remembered. The names of others are read with each claim."""
_SHARD: Final = re.compile(r"\{(\d+)\}:\Z", re.ASCII)
"""Finds the number of a shard in its base key."""
_LANE_OF: Final = {"h": "high", "d": "default", "l": "low"}


class _Named(Struct, frozen=True):
    """The names of one queue on one shard: as the store has them, and each as (lane, type)."""

    text: str
    lists: Sequence[tuple[str, str]]
    types: frozenset[str]


_NOTHING: Final = _Named("", (), frozenset())


class KnownAsides:
    """The lists set aside that the store has named: in replies to claims, and in messages when there is a new one.

    It may be behind: the reply to a claim names the lists that the claim has left out, and an empty list does no harm.
    """

    def __init__(self) -> None:
        self._named: dict[tuple[int, str], _Named] = {}

    def __bool__(self) -> bool:
        """Return whether any list is known."""
        return bool(self._named)

    def lists(self, shard: int, queue: str) -> Sequence[tuple[str, str]]:
        """Return the lists of a queue, each as (lane, type)."""
        return self._named.get((shard, queue), _NOTHING).lists

    def types(self, shard: int, queue: str) -> frozenset[str]:
        """Return the types of the lists of a queue. ANY and SUSPECTS are left out."""
        return self._named.get((shard, queue), _NOTHING).types

    def tell(self, shard: int, queues: Iterable[str], told: Told | None) -> list[tuple[str, str]]:
        """Take the names from a reply to a claim on these queues. Returns the queue and type of each new list."""
        texts = dict(told or ())
        return [(queue, name) for queue in queues for name in self._set(shard, queue, texts.get(queue, ""))]

    def hear(self, message: str) -> tuple[int, list[tuple[str, str]]]:
        """Take a message of the channel. Returns the shard, and the queue and type of each new list."""
        base, _, rest = message.partition(" ")
        queue, _, names = rest.partition(" ")
        found = _SHARD.search(base)
        shard = int(found[1]) if found else -1
        return shard, [(queue, name) for name in self._set(shard, queue, names)] if found else []

    def _set(self, shard: int, queue: str, text: str) -> Iterable[str]:
        before = self._named.get((shard, queue), _NOTHING)
        if before.text == text:
            return ()
        if not text or (before is _NOTHING and len(self._named) >= MAX_KNOWN):
            self._named.pop((shard, queue), None)
            return ()
        lists = [(_LANE_OF[name[0]], name[2:]) for name in text.split() if name[0] in _LANE_OF and name[1:2] == ":"]
        named = _Named(text, lists, frozenset(type_name for _, type_name in lists if type_name not in (ANY, SUSPECTS)))
        self._named[shard, queue] = named
        return sorted(named.types - before.types)

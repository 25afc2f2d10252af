"""The terms of a claim: what the claimer can begin, and the lists set aside from which it may claim.

A list set aside has the waiting jobs of one type of a lane. They were taken out of the lane because a worker that met
them could not begin them: docs/adr/0019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

MAX_ROOM_TYPES: Final = 1_000
"""The most types that a claim names."""
ANY: Final = "*"
"""The type of the list, one for each lane, that has the jobs of types for which there were too many names."""

SUSPECTS: Final = "!"
"""The type of the list, one for each lane, that has the jobs with two crashes or more, whatever their type."""

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

"""The room of a worker's executors: how many jobs can begin in each of them now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from queuey.worker.handlers.signatures import Mode


class Share(NamedTuple):
    """The jobs of some types, together, that can begin now."""

    jobs: int
    types: Sequence[str]


def _none_of(_: str) -> int:
    return 0


class TypeRoom:
    """The places of a type that runs only so many jobs at a time. They are some of its executor's.

    `unreturned`: counts the places that are in use although the worker has the outcome of their jobs.
    """

    __slots__ = ("_most", "_unreturned", "busy")
    is_limited = True

    def __init__(self, most: int, unreturned: Callable[[], int]) -> None:
        self.busy = 0
        """The number of jobs of the type that were claimed and have not ended."""
        self._most = most
        self._unreturned = unreturned

    @property
    def free(self) -> int:
        """The number of jobs that can begin now if the executor has places."""
        return max(0, self._most - self.busy - self._unreturned())


class ExecutorRoom:
    """The places of one executor, and the types whose handlers it runs.

    `slots`: the number of handlers that it runs at a time; None: as many as the worker has slots. `unreturned`: counts
    the places that are in use although the worker has the outcome of their jobs, and `unreturned_of` those of a type.
    `concurrency`: by type, the number of its jobs that run at a time.
    """

    __slots__ = ("_slots", "_unlimited", "_unreturned", "busy", "limited", "mode", "types")

    def __init__(
        self,
        mode: Mode,
        types: Iterable[str] = (),
        slots: int | None = None,
        unreturned: Callable[[], int] = lambda: 0,
        concurrency: Mapping[str, int] | None = None,
        unreturned_of: Callable[[str], int] = _none_of,
    ) -> None:
        self.mode = mode
        self.types = tuple(types)
        self.busy = 0
        """The number of jobs that were claimed for it and have not ended."""
        self.limited = {
            type: TypeRoom(most, partial(unreturned_of, type)) for type, most in (concurrency or {}).items()
        }
        """The rooms of its types that run only so many jobs at a time."""
        self._unlimited = len(self.types) > len(self.limited) or not self.types
        self._slots = slots
        self._unreturned = unreturned

    @property
    def is_limited(self) -> bool:
        """Whether it has a number of places of its own."""
        return self._slots is not None

    def free(self, most: int) -> int:
        """Return the number of jobs that can begin now, up to `most`."""
        places = self._places(most)
        return places if self._unlimited else min(places, sum(room.free for room in self.limited.values()))

    def free_for(self, type: str, most: int) -> int:
        """Return the number of jobs of one of its types that can begin now, up to `most`."""
        places, room = self._places(most), self.limited.get(type)
        return places if room is None else min(places, room.free)

    def shares(self, most: int) -> list[Share]:
        """Return the jobs of its types that a claim of up to `most` jobs may bring.

        Every type that can begin has a share, and the shares of an executor with places of its own are no more than
        these. So whatever a claim brings can begin.
        """
        places = self._places(most)
        if not self.limited:
            return [Share(places, self.types)]
        tight = {type: room.free for type, room in self.limited.items() if room.free < places}
        rest = [type for type in self.types if type not in tight]
        full = [type for type, free in tight.items() if not free]
        tight = {type: free for type, free in tight.items() if free}
        rooms = _in_places(places, rest, tight) if self.is_limited else _in_any_place(places, rest, tight)
        return [*rooms, Share(0, full)] if full else rooms

    def _places(self, most: int) -> int:
        if self._slots is None:
            return most
        return max(0, min(most, self._slots - self.busy - self._unreturned()))


def _in_any_place(places: int, rest: list[str], tight: Mapping[str, int]) -> list[Share]:
    """Return the shares of types where the limit of the claim is that of their sum."""
    rooms = [Share(free, [type]) for type, free in tight.items()]
    return [Share(places, rest), *rooms] if rest else rooms


def _in_places(places: int, rest: list[str], tight: Mapping[str, int]) -> list[Share]:
    """Divide places among types. `tight`: those of which fewer jobs can begin; the `rest` has one share together."""
    shares = len(tight) + bool(rest)
    if shares > places:  # together they have what each of them can begin, so that none has to wait for its turn
        return [Share(min([places, *tight.values()]), [*rest, *tight])]
    rooms, left = [], places
    for type, free in sorted(tight.items(), key=lambda item: item[1]):
        share = min(free, left // shares)
        rooms.append(Share(share, [type]))
        left, shares = left - share, shares - 1
    return [Share(left, rest), *rooms] if rest else rooms

"""The room of a worker's executors: how many jobs can begin in each of them now."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from queuey.worker.handlers.signatures import Mode


class ExecutorRoom:
    """The places of one executor, and the types whose handlers it runs.

    `slots`: the number of handlers that it runs at a time; None: as many as the worker has slots. `unreturned`: counts
    the places that are in use although the worker has the outcome of their jobs.
    """

    __slots__ = ("_slots", "_unreturned", "busy", "mode", "types")

    def __init__(
        self,
        mode: Mode,
        types: Iterable[str] = (),
        slots: int | None = None,
        unreturned: Callable[[], int] = lambda: 0,
    ) -> None:
        self.mode = mode
        self.types = tuple(types)
        self.busy = 0
        """The number of jobs that were claimed for it and have not ended."""
        self._slots = slots
        self._unreturned = unreturned

    @property
    def is_limited(self) -> bool:
        """Whether it has a number of places of its own."""
        return self._slots is not None

    def free(self, most: int) -> int:
        """Return the number of jobs that can begin now, up to `most`."""
        if self._slots is None:
            return most
        return max(0, min(most, self._slots - self.busy - self._unreturned()))

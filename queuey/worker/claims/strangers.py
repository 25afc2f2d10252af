"""Jobs of types that a worker does not know. It gives them back, and claims no more of them."""

from __future__ import annotations

from typing import Any, Final

from queuey import log
from queuey.store.asides import MAX_ROOM_TYPES
from queuey.worker.held_job import HeldJob
from queuey.worker.source import Confirmed, JobSource

MAX_TYPES_LOGGED: Final = 10

logger = log.get(__name__)


class Strangers:
    """The jobs of unknown types that a worker holds, until they are given back to `source`.

    A worker meets such jobs only until it claims no unknown types any more. They go to the heads of the lists of their
    types, all at once, so that they stay in order.
    """

    def __init__(self, source: JobSource[Any]) -> None:
        self.types: dict[str, None] = {}
        """The unknown types met so far, at most MAX_ROOM_TYPES."""
        self._source = source
        self._held: list[HeldJob] = []

    def add(self, held: HeldJob) -> None:
        """Add a job, which is given back with the others."""
        self._held.append(held)
        self.types[held.work.type] = None
        if len(self.types) > MAX_ROOM_TYPES:
            del self.types[next(iter(self.types))]

    def give_back(self, gone: Confirmed) -> None:
        """Give back the jobs. Call it when no claim is under way that may bring more of them."""
        if self._held:
            held, self._held = self._held, []
            types = sorted({each.work.type for each in held})
            logger.warning("types_unknown", jobs=len(held), types=types[:MAX_TYPES_LOGGED])
            self._source.set_aside(held, gone)

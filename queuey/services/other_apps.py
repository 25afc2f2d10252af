"""Other Apps on the same queues: they and this one get jobs of types that they do not know."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Final

from msgspec import Struct

from queuey import log
from queuey.protocol.models import WorkerInfo
from queuey.services.workers import MAX_TYPES, list_workers
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

LOOK_SECONDS: Final = 30.0
STORE_SECONDS: Final = 5.0
MAX_APPS: Final = 16
"""The maximum number of other Apps that are reported."""
MAX_SHOWN: Final = 10
"""The maximum number of queues and of types in a report."""
ADVICE: Final = "Give each App queues of its own, a store of its own, or App(name=) the same name if it is one program."

logger = log.get(__name__)


class OwnApp(Struct, frozen=True):
    """The App of this process: its name, the queues that it serves, and the types that it knows."""

    name: str
    queues: Collection[str]
    types: Collection[str]


class Clash(Struct, frozen=True):
    """Another App that serves the same queues, with a part of the types that only one of the two knows."""

    app: str
    queues: tuple[str, ...]
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]


def clashes(own: OwnApp, workers: Iterable[WorkerInfo]) -> list[Clash]:
    """Return the Apps with another name on the same queues, where each of the two knows types that the other does not.

    A worker whose App has no known name, or too many types to report them all, is left out."""
    queues: dict[str, set[str]] = {}
    types: dict[str, set[str]] = {}
    for worker in workers:
        shared = set(worker.queues) & set(own.queues)
        if shared and worker.app not in ("", own.name) and len(worker.types) < MAX_TYPES:
            queues.setdefault(worker.app, set()).update(shared)
            types.setdefault(worker.app, set()).update(worker.types)
    found = (
        Clash(app, _some(queues[app]), _some(here), _some(there))
        for app in sorted(types)
        if (here := set(own.types) - types[app]) and (there := types[app] - set(own.types))
    )
    return list(islice(found, MAX_APPS))


def _some(names: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(names)[:MAX_SHOWN])


class OtherApps:
    """Warns of other Apps on the queues of this replica: once, and again when the queues or the types change."""

    def __init__(self, broker: Broker, own: OwnApp, interval: float = LOOK_SECONDS) -> None:
        self._broker = broker
        self._own = own
        self._interval = interval
        self._reported: Sequence[Clash] = ()

    async def run_once(self) -> float:
        """Look at the heartbeats of all workers. Raises StoreUnavailable."""
        found = clashes(self._own, await list_workers(self._broker, Deadline(STORE_SECONDS)))
        for clash in found:
            if clash not in self._reported:
                logger.warning(
                    "queue_shared_with_another_app",
                    app=self._own.name,
                    other_app=clash.app,
                    queues=list(clash.queues),
                    only_here=list(clash.only_here),
                    only_there=list(clash.only_there),
                    advice=ADVICE,
                )
        self._reported = found
        return self._interval

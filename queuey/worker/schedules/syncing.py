"""Putting the schedules that an App declares into the store, once when its server starts.

Several replicas of one App may do this at a time, and each does the same. Replicas of two versions of it may declare
different schedules: the last start wins, since none looks again later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from queuey.errors import Invalid, Malformed, NotFound, TooLarge
from queuey.services.schedules.keeping import Schedules
from queuey.services.schedules.listing import schedules_on
from queuey.services.schedules.reading import ScheduleReader
from queuey.services.schedules.views import Kept
from queuey.store.deadline import Deadline
from queuey.worker.handlers.app import App
from queuey.worker.schedules.declaring import Declared
from queuey.worker.schedules.outcome import Policy, Synced, as_stored

CALL_SECONDS: Final = 5.0
LIST_SECONDS: Final = 60.0


class _Foreign(Exception):
    """Another owner has the schedule: an App, or '' if it was put by hand."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


class Syncing:
    """Puts the schedules of an App. It changes none that has another owner."""

    def __init__(self, app: App, schedules: Schedules, policy: Policy) -> None:
        self._app = app
        self._schedules = schedules
        self._reader = ScheduleReader(schedules.submission)
        self._policy = policy
        self._begin()

    def _begin(self) -> None:
        self._synced, self._left = Synced(), list(range(self._schedules.broker.shards.count))

    async def run_once(self) -> Synced:
        """Put what is declared, and report or delete the rest. It is safe to repeat.

        A shard that does not answer holds up no other. The next run leaves out what is done already, so that it undoes
        nothing that a later start has put meanwhile.

        Raises StoreError, UpgradeInProgress while older replicas run, Full, or Conflict.
        """
        shards = self._left
        results = await asyncio.gather(*map(self._sync, shards), return_exceptions=True)
        failed = [(shard, each) for shard, each in zip(shards, results, strict=True) if each is not None]
        self._left = [shard for shard, _ in failed]
        for _, error in failed:
            raise error
        synced = self._synced
        self._begin()
        return synced

    async def _sync(self, shard: int) -> None:
        shards, synced = self._schedules.broker.shards, self._synced
        declared = {name: each for name, each in self._app.schedules.items() if shards.of_schedule(name) == shard}
        there, own = await self._look(shard, declared)
        for each in declared.values():
            await self._put(each, there.get(each.name), synced)
        for name in own:
            if name in declared:
                continue
            if self._policy == "managed":
                await self._delete(name, synced)
            else:
                synced.undeclared.append(name)

    async def _look(self, shard: int, declared: Mapping[str, Declared]) -> tuple[dict[str, Kept], list[str]]:
        """Return the schedules of a shard that are declared, by name, and the names of all of this App."""
        there: dict[str, Kept] = {}
        own: list[str] = []
        async for kept in schedules_on(shard, self._schedules, Deadline(LIST_SECONDS)):
            if kept.stored.name in declared:
                there[kept.stored.name] = kept
            if kept.spec.app == self._app.name:
                own.append(kept.stored.name)
        return there, own

    async def _put(self, declared: Declared, there: Kept | None, synced: Synced) -> None:
        name, own, codec = declared.name, self._app.name, self._app.codec
        stored = None if there is None else there.spec.job.payload
        request = as_stored(declared.sealed(codec), stored, codec)
        try:
            self._reader.check(request, time.time_ns() // 1_000_000)
            put = await self._schedules.put(name, request, Deadline(CALL_SECONDS), app=own, owner=_only(own))
        except _Foreign as error:
            synced.foreign[name] = error.owner
        except (Invalid, Malformed, TooLarge) as error:
            synced.refused[name] = error.message
        else:
            if put.changed:
                (synced.new if put.is_new else synced.replaced).append(name)

    async def _delete(self, name: str, synced: Synced) -> None:
        """Delete a schedule unless it has got another owner since it was read."""
        try:
            await self._schedules.delete(name, Deadline(CALL_SECONDS), owner=_only(self._app.name))
        except (_Foreign, NotFound):
            return
        synced.removed.append(name)


def _only(app: str) -> Callable[[str], None]:
    """Return a function that raises _Foreign if a schedule has another owner."""

    def check(owner: str) -> None:
        if owner != app:
            raise _Foreign(owner)

    return check

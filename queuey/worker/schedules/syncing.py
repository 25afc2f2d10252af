"""Putting the schedules that an App declares into the store, once when its server starts.

Several replicas of one App may do this at a time, and each does the same. Replicas of two versions of it may declare
different schedules: the last start wins, since none looks again later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct

from queuey import log
from queuey.errors import Invalid, Malformed, NotFound, TooLarge
from queuey.protocol.json.codecs import Codec, unseal_json
from queuey.protocol.models import ScheduleRequest
from queuey.services.schedules.keeping import Schedules
from queuey.services.schedules.listing import every_schedule
from queuey.services.schedules.reading import ScheduleReader
from queuey.services.schedules.views import Kept
from queuey.store.deadline import Deadline
from queuey.worker.handlers.app import App
from queuey.worker.schedules.declaring import Declared

Policy = Literal["report", "managed", "off"]
"""The rule for a schedule that its App no longer declares: it is reported, or deleted. `off`: nothing is put."""
CALL_SECONDS: Final = 5.0
LIST_SECONDS: Final = 60.0
MAX_TRIES: Final = 3
"""The number of times that a schedule is read because others change it at the same time."""
MAX_SHOWN: Final = 20
"""The maximum number of names in a line of the log."""

logger = log.get(__name__)


class Synced(Struct):
    """The outcome of one sync, by the names of schedules."""

    new: list[str] = []
    replaced: list[str] = []
    removed: list[str] = []
    undeclared: list[str] = []
    """The schedules that this App no longer declares, and that are still there."""
    foreign: dict[str, str] = {}
    """The schedules that another App declares, with its name; '' = they were put by hand."""
    refused: dict[str, str] = {}
    """The schedules that do not fit the settings of this server, with the reason."""


class _Changed(Exception):
    """Another request has changed the schedule since it was read."""


class Syncing:
    """Puts the schedules of an App. It changes none that has another owner."""

    def __init__(self, app: App, schedules: Schedules, policy: Policy) -> None:
        self._app = app
        self._schedules = schedules
        self._reader = ScheduleReader(schedules.submission)
        self._policy = policy

    async def run_once(self) -> Synced:
        """Put what is declared, and report or delete the rest. It is safe to repeat.

        Raises StoreError, UpgradeInProgress while older replicas run, Full, or Conflict.
        """
        declared, synced = self._app.schedules, Synced()
        there, own = await self._look(declared)
        for each in declared.values():
            await self._put(each, there.get(each.name), synced)
        for kept in own:
            if kept.stored.name in declared:
                continue
            if self._policy == "managed" and await self._delete(kept):
                synced.removed.append(kept.stored.name)
            else:
                synced.undeclared.append(kept.stored.name)
        return synced

    async def _look(self, declared: Mapping[str, Declared]) -> tuple[dict[str, Kept], list[Kept]]:
        """Return the schedules that are there of those declared, by name, and all of this App."""
        there: dict[str, Kept] = {}
        own: list[Kept] = []
        async for kept in every_schedule(self._schedules, Deadline(LIST_SECONDS)):
            if kept.stored.name in declared:
                there[kept.stored.name] = kept
            if kept.spec.app == self._app.name:
                own.append(kept)
        return there, own

    async def _put(self, declared: Declared, there: Kept | None, synced: Synced) -> None:
        name = declared.name
        for _ in range(MAX_TRIES):
            if there is not None and there.spec.app != self._app.name:
                synced.foreign[name] = there.spec.app
                return
            request = _as_stored(declared.sealed(self._app.codec), there, self._app.codec)
            mark = there.stored.mark if there else ""
            try:
                self._reader.check(request, self._schedules.clock())
                put = await self._schedules.put(
                    name, request, Deadline(CALL_SECONDS), app=self._app.name, condition=_unless(mark)
                )
            except _Changed:
                there = await self._find(name)
                continue
            except (Invalid, Malformed, TooLarge) as error:
                synced.refused[name] = error.message
                return
            if put.changed:
                (synced.new if put.is_new else synced.replaced).append(name)
            return
        synced.refused[name] = "Other requests changed it each time that it was read."

    async def _find(self, name: str) -> Kept | None:
        try:
            return await self._schedules.find(name, Deadline(CALL_SECONDS), runs=0)
        except NotFound:
            return None

    async def _delete(self, kept: Kept) -> bool:
        """Delete a schedule unless it was changed since it was read, maybe by another owner."""
        try:
            condition = _unless(kept.stored.mark)
            await self._schedules.delete(kept.stored.name, Deadline(CALL_SECONDS), condition=condition)
        except NotFound:
            return True
        except _Changed:
            return False
        return True


def unfit(app: App, policy: str) -> str | None:
    """Return why the schedules of an App cannot be put by a policy, or None."""
    if policy != "managed" or app.is_named:
        return None
    return "--schedules managed deletes schedules of this App, so it needs a name that no other App has: App(name=...)."


def report(app: App, synced: Synced) -> None:
    """Log what a sync did, and what somebody should look at. A sync that found all as declared logs nothing."""
    if synced.new or synced.replaced or synced.removed:
        logger.info(
            "schedules_declared",
            app=app.name,
            new=_some(synced.new),
            replaced=_some(synced.replaced),
            removed=_some(synced.removed),
        )
    if synced.undeclared:
        logger.warning(
            "schedules_not_declared",
            app=app.name,
            schedules=_some(synced.undeclared),
            count=len(synced.undeclared),
            advice="They still fire. Delete them, or start with --schedules managed.",
        )
    for name, owner in list(synced.foreign.items())[:MAX_SHOWN]:
        logger.warning(
            "schedule_of_another",
            app=app.name,
            schedule=name,
            declared_by=owner or None,
            advice="It was left as it is. Give one of them another name, or delete it and start again.",
        )
    for name, reason in list(synced.refused.items())[:MAX_SHOWN]:
        logger.error("schedule_refused", app=app.name, schedule=name, error=reason)


def _unless(mark: str) -> Callable[[str], None]:
    """Return the condition that the schedule has this mark; '' = that there is none."""

    def check(current: str) -> None:
        if current != mark:
            raise _Changed

    return check


def _as_stored(request: ScheduleRequest, there: Kept | None, codec: Codec | None) -> ScheduleRequest:
    """Return the schedule with the stored payload if both mean the same: a codec may seal each time differently."""
    if codec is None or there is None:
        return request
    stored = there.spec.job.payload
    try:
        is_same = unseal_json(codec, stored) == unseal_json(codec, request.job.payload)
    except msgspec.DecodeError:
        return request
    if not is_same:
        return request
    return msgspec.structs.replace(request, job=msgspec.structs.replace(request.job, payload=stored))


def _some(names: list[str]) -> list[str]:
    return sorted(names)[:MAX_SHOWN]

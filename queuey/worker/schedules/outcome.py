"""The outcome of putting the schedules of an App, and the log lines about it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct

from queuey import log
from queuey.protocol.json.codecs import Codec, unseal_json
from queuey.protocol.models import ScheduleRequest
from queuey.worker.handlers.app import App

Policy = Literal["report", "managed", "off"]
"""The rule for a schedule that its App no longer declares: it is reported, or deleted. `off`: nothing is put."""
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


def as_stored(request: ScheduleRequest, stored: Raw | None, codec: Codec | None) -> ScheduleRequest:
    """Return the schedule with the stored payload if both mean the same: a codec may seal each time differently."""
    if codec is None or stored is None:
        return request
    try:
        is_same = unseal_json(codec, stored) == unseal_json(codec, request.job.payload)
    except msgspec.DecodeError:
        return request
    if not is_same:
        return request
    return msgspec.structs.replace(request, job=msgspec.structs.replace(request.job, payload=stored))


def _some(names: list[str]) -> list[str]:
    return sorted(names)[:MAX_SHOWN]

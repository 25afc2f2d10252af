"""`queuey doctor`: a line for each check."""

from __future__ import annotations

import asyncio

from queuey.cli.commands.serve import settings_signature, split
from queuey.cli.default_store import settings_and_complaint
from queuey.cli.exits import FAILED, OK
from queuey.errors import SettingsError
from queuey.server.doctor import Finding, examine
from queuey.settings.settings import Settings


def doctor(**flags: str | None) -> int:
    """Check the settings and the store. The help of this command is in `app`."""
    try:
        settings, complaint = settings_and_complaint(*split(flags))
    except SettingsError as error:
        for fault in error.message.splitlines():
            _print(Finding("fail", "settings", fault))
        return FAILED
    _print(Finding("ok", "settings", "all are valid"))
    return asyncio.run(_examine(settings, complaint))


async def _examine(settings: Settings, complaint: str | None) -> int:
    code = OK
    async for finding in examine(settings, complaint):
        _print(finding)
        if finding.level == "fail":
            code = FAILED
    return code


def _print(finding: Finding) -> None:
    print(f"{finding.level:<4}  {finding.subject:<10}  {finding.text}", flush=True)


doctor.__signature__ = settings_signature()  # type: ignore[attr-defined]

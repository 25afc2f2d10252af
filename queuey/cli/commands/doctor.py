"""`queuey doctor`: a line for each thing that was looked at."""

from __future__ import annotations

import asyncio

from queuey.cli.commands.serve import settings_of, settings_signature
from queuey.cli.exits import FAILED, OK
from queuey.errors import SettingsError
from queuey.server.doctor import Finding, examine
from queuey.settings.settings import Settings


def doctor(**flags: str | None) -> int:
    try:
        settings = settings_of(flags)
    except SettingsError as error:
        for fault in error.message.splitlines():
            _tell(Finding("fail", "settings", fault))
        return FAILED
    _tell(Finding("ok", "settings", "each can be used"))
    return asyncio.run(_examine(settings))


async def _examine(settings: Settings) -> int:
    code = OK
    async for finding in examine(settings):
        _tell(finding)
        if finding.level == "fail":
            code = FAILED
    return code


def _tell(finding: Finding) -> None:
    print(f"{finding.level:<4}  {finding.subject:<10}  {finding.text}", flush=True)


doctor.__signature__ = settings_signature()  # type: ignore[attr-defined]

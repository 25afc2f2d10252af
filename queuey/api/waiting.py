"""Answers that wait for a job's end: `?wait=` and the header `Prefer: wait=`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from starlette.types import Receive

from queuey.api.body import ClientGone
from queuey.errors import Invalid, ParameterFault
from queuey.models import Status
from queuey.waiters import Waiters

MAX_WAIT: Final = 60
FINAL: Final[tuple[Status, ...]] = ("succeeded", "dead_letter", "cancelled")
_NUMBER = re.compile(r"\d{1,5}(\.\d{1,6})?", re.ASCII)
_PREFERENCE = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([^\",;]*)\"?", re.IGNORECASE)


class Wait:
    """How long an answer may wait, in seconds. `applied`: what the header Preference-Applied says, '' when the wait
    was not asked for by Prefer."""

    __slots__ = ("applied", "seconds")

    def __init__(self, seconds: float, applied: str = "") -> None:
        self.seconds = seconds
        self.applied = applied

    @property
    def headers(self) -> dict[str, str]:
        return {"Preference-Applied": self.applied} if self.applied else {}


def wanted_wait(parameter: str | None, headers: Mapping[bytes, bytes]) -> Wait | None:
    """What the request asks for; the parameter goes before the header. None: no wait. Raises Invalid."""
    if parameter is not None:
        return Wait(_seconds(parameter, "wait"))
    preferred = headers.get(b"prefer")
    found = _PREFERENCE.search(preferred.decode("latin-1")) if preferred else None
    if found is None:
        return None
    text = found[1].strip()
    return Wait(_seconds(text, "Prefer: wait"), f"wait={text}")


def _seconds(text: str, name: str) -> float:
    if not _NUMBER.fullmatch(text) or float(text) > MAX_WAIT:
        detail = f"must be a number of seconds from 0 to {MAX_WAIT}"
        raise Invalid(f"{name} {detail}.", [ParameterFault(name, detail)])
    return float(text)


async def wait_for_end(waiters: Waiters, job_id: str, seconds: float, receive: Receive) -> None:
    """Returns when the job has ended, or after so many seconds. The request's body has been read.

    Raises ClientGone when the client does not wait any more, and Full when too many do.
    """
    gone = asyncio.create_task(_until_gone(receive))
    waiting = asyncio.create_task(waiters.wait(job_id, seconds))
    try:
        await asyncio.wait({gone, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientGone
        await waiting
    finally:
        for task in (gone, waiting):
            task.cancel()
        await asyncio.wait({gone, waiting})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

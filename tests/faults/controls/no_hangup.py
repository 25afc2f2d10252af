"""Importing this makes SIGHUP end a replica at once, as a program does by default."""

from __future__ import annotations

import asyncio

from queuey import lifecycle


def drain_on_hangup(first: asyncio.Event) -> None:
    """Leave the signal as it is."""


lifecycle.drain_on_hangup = drain_on_hangup

"""The loop around the chores that every replica runs beside its jobs.

There is no leader and no lock: each chore's script is safe to run on any replica at any time.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final, Protocol

from queuey import log
from queuey.errors import CannotRunHere, QueueyError
from queuey.lifecycle import Retrying

BATCH: Final = 500
"""Jobs per call of a script."""
CALLS: Final = 200
"""Maximum number of calls per shard in one run. The next run continues."""
RETRY_FIRST: Final = 0.2
RETRY_CAP: Final = 5.0
"""Seconds until a run that failed is tried again."""

logger = log.get(__name__)


class Chore(Protocol):
    """Work that is repeated for as long as the process runs."""

    async def run_once(self) -> float:
        """Do the work once. Returns the seconds until the next run is due; 0 only after having waited for something."""


async def run_forever(chore: Chore) -> None:
    """Repeat a chore until cancelled. A run that fails is retried, at first sooner than the chore would run again.

    Raises CannotRunHere: no later run would succeed."""
    retries = Retrying(RETRY_FIRST, RETRY_CAP)
    while True:
        try:
            pause = await chore.run_once()
            retries.reset()
        except CannotRunHere:
            raise
        except QueueyError as error:
            logger.warning("chore_failed", chore=type(chore).__name__, error=error.message)
            pause = retries.next()
        if pause > 0:
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))

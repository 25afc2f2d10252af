"""How long one request waits for the store.

A call that the store left unanswered is sent again, which every script allows, until the request is `seconds` old; a
reply that is still outstanding is waited for a little longer. So every request is answered within about two seconds
by default, whatever the store does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from queuey.errors import OutcomeUnknown, StoreError, StoreUnavailable
from queuey.lifecycle import Retrying
from queuey.store.batching import OVERDUE, RESEND_CAP, RESEND_FIRST

Reply = TypeVar("Reply")


class Deadline:
    """Made when a request comes, and used for all its calls."""

    def __init__(self, seconds: float) -> None:
        self._until = asyncio.get_running_loop().time() + seconds

    async def call(self, send: Callable[[], Awaitable[Reply]]) -> Reply:
        """The reply. Raises StoreUnavailable once the patience is spent, and whatever else `send` raises."""
        retries = Retrying(RESEND_FIRST, RESEND_CAP)
        maybe_done = False
        while True:
            try:
                async with asyncio.timeout_at(self._until + OVERDUE):
                    return await send()
            except StoreUnavailable as error:
                maybe_done = error.maybe_done = maybe_done or error.maybe_done
                left = self._until - asyncio.get_running_loop().time()
                if left <= 0:
                    raise
            except TimeoutError:
                raise StoreUnavailable("The store did not answer in time.", maybe_done=True) from None
            await retries.wait(at_most=left)


def outcome(error: StoreUnavailable, job_ids: Sequence[str]) -> StoreError:
    """What to raise when a call that changes jobs went unanswered: it may have been done all the same."""
    return OutcomeUnknown(f"{error.message} It may have been done.", job_ids) if error.maybe_done else error

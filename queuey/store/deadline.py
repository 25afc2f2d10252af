"""The time that one request waits for the store.

A call without a reply is sent again until the request is `seconds` old; every script allows that. A reply that is
still outstanding then is awaited a little longer. So every request is answered within about two seconds
by default, whatever the store does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ParamSpec, TypeVar

from queuey.errors import OutcomeUnknown, StoreError, StoreUnavailable
from queuey.lifecycle import Retrying, TimeLimit
from queuey.store.batching import OVERDUE, RESEND_CAP, RESEND_FIRST

Reply = TypeVar("Reply")
Given = ParamSpec("Given")


class Deadline:
    """The time limit of one request. Make it when the request comes, and use it for all calls of the request."""

    def __init__(self, seconds: float) -> None:
        self._until = asyncio.get_running_loop().time() + seconds

    async def call(self, send: Callable[Given, Awaitable[Reply]], *args: Given.args, **kwargs: Given.kwargs) -> Reply:
        """Return the reply of `send(*args, **kwargs)`, which is sent again while the store does not answer.

        Raises StoreUnavailable once the deadline has passed, and whatever else `send` raises.
        """
        retries = Retrying(RESEND_FIRST, RESEND_CAP)
        maybe_done, shard = False, None
        while True:
            try:
                async with TimeLimit(self._until + OVERDUE):
                    return await send(*args, **kwargs)
            except StoreUnavailable as error:
                maybe_done = error.maybe_done = maybe_done or error.maybe_done
                shard = error.shard
                left = self._until - asyncio.get_running_loop().time()
                if left <= 0:
                    raise
            except TimeoutError:
                raise StoreUnavailable("The store did not answer in time.", maybe_done=True, shard=shard) from None
            await retries.wait(at_most=left)


def outcome(error: StoreUnavailable, job_ids: Sequence[str]) -> StoreError:
    """Return the error to raise after a call that changes jobs had no reply: it may have been done nevertheless."""
    return OutcomeUnknown(f"{unanswered(error)} It may have been done.", job_ids) if error.maybe_done else error


def unanswered(error: StoreUnavailable) -> str:
    """Return what a client may know of a call without a reply: not the address of the store, which the error has."""
    return f"{'The store' if error.shard is None else f'Shard {error.shard} of the store'} did not answer in time."

"""The time in which a call is sent again after a failure, and the pauses between the attempts."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from queuey.client.errors import ClientError, Refused, Unavailable, Unreachable

FIRST_PAUSE: Final = 0.1
LAST_PAUSE: Final = 2.0
MAX_ASKED: Final = 30.0
"""The longest Retry-After in seconds that is waited for where only the number of attempts is limited."""
DOUBLINGS: Final = 10
_OUTCOME_UNKNOWN: Final = "outcome-unknown"


class Patience:
    """The time in which one call is sent again. It begins with the first failure.

    - seconds: the time; 0 sends nothing again
    - most: the number of attempts after the first, whatever time they take; it replaces `seconds`
    - until: a time of the loop until which it lasts at least, for calls that wait
    """

    def __init__(self, seconds: float, most: int | None = None, until: float = 0.0) -> None:
        self._seconds = seconds
        self._most = most
        self._least_end = until
        self._end = 0.0
        self._failed = 0

    async def again(self, error: ClientError, *, repeatable: bool = True) -> bool:
        """Wait until the call may be sent again, and return True; return False if it must not be.

        A call that is not `repeatable` is sent again only if the server has certainly not done it.
        """
        asked = _asked(error, repeatable)
        pause = None if asked is None else self._pause(asked, asyncio.get_running_loop().time())
        if pause is None:
            return False
        await asyncio.sleep(pause)
        return True

    def _pause(self, asked: float, now: float) -> float | None:
        """Return the seconds until the next attempt, which are never shorter than `asked`. None: the time is up."""
        if self._failed == 0:
            self._end = max(now + self._seconds, self._least_end)
        own: float = min(LAST_PAUSE, FIRST_PAUSE * 2 ** min(self._failed, DOUBLINGS)) * random.uniform(0.5, 1.0)
        self._failed += 1
        if self._most is not None:
            return asked + own if self._failed <= self._most and asked <= MAX_ASKED else None
        left = self._end - now
        if self._seconds == 0 or left <= 0 or asked > left:
            return None
        return min(asked + own, left)


def _asked(error: ClientError, repeatable: bool) -> float | None:
    """Return the seconds that the server asks to wait, 0 if it does not. None: the call must not be sent again."""
    if isinstance(error, Unreachable):
        return None if error.maybe_done and not repeatable else 0.0
    if isinstance(error, Refused) and (isinstance(error, Unavailable) or error.retry_after is not None):
        return None if error.code == _OUTCOME_UNKNOWN and not repeatable else error.retry_after or 0.0
    return None

"""Giving back jobs that were claimed for a request whose client does not get them, beside other work of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from queuey import log
from queuey.errors import QueueyError
from queuey.protocol.stored.job_errors import error_entry
from queuey.services.leases.acks import Acks
from queuey.services.leases.claiming import ClaimingRequest
from queuey.store.replies import Claimed, ClaimedJob

RECOVERY_PAUSE: Final = 1.0
"""The seconds between two repeats of a claim that got no reply."""
CLOSE_SECONDS: Final = 2.0
MAX_RECOVERIES: Final = 1_000

logger = log.get(__name__)


class Returns:
    """Gives jobs back by `acks`. `shard_of` returns the shard of a job."""

    def __init__(self, acks: Acks, shard_of: Callable[[str], int]) -> None:
        self._acks = acks
        self._shard_of = shard_of
        self._background: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._closing = False

    @property
    def has_room(self) -> bool:
        """Whether there is room for more work."""
        return len(self._background) < MAX_RECOVERIES

    def close(self) -> None:
        """Repeat no claim any more."""
        self._closing = True

    async def settle(self) -> None:
        """Wait until the work is done, for CLOSE_SECONDS at most."""
        if self._background:
            await asyncio.wait(self._background, timeout=CLOSE_SECONDS)

    def recover(self, send: Callable[[], Coroutine[Any, Any, Claimed]], request: ClaimingRequest) -> None:
        """Repeat a claim that got no reply, and release its jobs, since the client will not ask for them again.

        If it does, with its claim id, their leases have been extended, and they are not released."""
        if self.has_room:
            self.spawn(self._ask_again(send, request))

    async def _ask_again(self, send: Callable[[], Coroutine[Any, Any, Claimed]], request: ClaimingRequest) -> None:
        until = self._loop.time() + request.asked.lease
        while self._loop.time() < until and not self._closing:
            try:
                claimed = await send()
            except QueueyError:
                await asyncio.sleep(RECOVERY_PAUSE)
            else:
                await self._release([(job.id, job.token) for job in claimed.jobs], _unextended(request))
                return

    def give_back(self, held: Sequence[tuple[str, str]], request: ClaimingRequest | None = None) -> None:
        """Release jobs. With the request of a claim id, those whose leases were not extended since."""
        if held:
            self.spawn(self._release(held, _unextended(request) if request else None))

    async def _release(self, held: Sequence[tuple[str, str]], unextended: int | None) -> None:
        """Release jobs, the last first, so that their order in the lanes is as before."""
        try:
            answers = [
                self._acks.release(self._shard_of(job_id), job_id, token, unextended)
                for job_id, token in reversed(held)
            ]
            await asyncio.gather(*answers)
        except QueueyError as error:
            logger.error("not_released", jobs=len(held), error=str(error))

    def dead_letter(self, shard: int, job: ClaimedJob, why: str) -> None:
        """Make a dead letter of a job that cannot be read."""
        entry = error_entry("payload", why, None, attempt=job.attempt, worker=None)
        self._acks.fail(shard, (job.id, job.token, entry, 0, True), partial(_dead_lettered, job.id))

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something beside the requests."""
        task = self._loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _unextended(request: ClaimingRequest) -> int | None:
    """Return the ms of a claim whose jobs are released only if their leases were not extended since, or None.

    Another replica, or a later request, may have answered the same claim id, which extended them.
    """
    return None if request.claim_id is None else round(request.asked.lease * 1000)


def _dead_lettered(job_id: str, status: str | None, error: Exception | None) -> None:
    if error is not None:
        logger.error("outcome_not_stored", job_id=job_id, error=str(error))
    else:
        logger.warning("job_unreadable", job_id=job_id, status=status)

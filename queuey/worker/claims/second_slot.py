"""The claim for an executor that was full: it waits a moment for a second free slot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from queuey.worker.executors.rooms import ExecutorRoom, TypeRoom
from queuey.worker.held_job import HeldJob
from queuey.worker.slots import Slots

HOLD_SECONDS: Final = 0.001


class SecondSlot:
    """Calls `grew` when an executor that was full has room: at its second free slot, or after HOLD_SECONDS.

    Short jobs end close together, and one claim for two costs little more than one for one. Nothing is held if the
    executor runs no other job. Claims for other executors go on meanwhile. `queue_grew` is called at once if a queue
    with a limit was full.
    """

    def __init__(self, slots: Slots, grew: Callable[[], None], queue_grew: Callable[[], None] = lambda: None) -> None:
        self._slots = slots
        self._grew = grew
        self._queue_grew = queue_grew
        self._held_for: ExecutorRoom | TypeRoom | None = None
        self._timer: asyncio.TimerHandle | None = None

    def leave(self, type: str, held: HeldJob | None = None) -> None:
        """Free the slot of a job. `held`: the job, which is needed if a queue has a limit."""
        queues = self._slots.queues
        if queues is not None and held is not None and queues.leave(held.job_id, held.token):
            self._slots.leave(type)
            self._queue_grew()
            self._end()
            return
        if not self._slots.mixed:  # as for most Apps: nothing else is looked at
            self._slots.leave(type)
            return
        was_full = not self._slots.room_for(type)
        self._slots.leave(type)
        room = self._slots.room_of(type)
        if was_full and room is not None and room.is_limited and room.busy and self._slots.room_for(type) == 1:
            if self._timer is None:
                self._held_for = room
                self._timer = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._end)
        elif was_full or (self._timer is not None and room is self._held_for):
            self._end()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._held_for = None
        self._grew()

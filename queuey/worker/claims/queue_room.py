"""The room of queues with limits: how many of their jobs a worker can begin now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence


class QueueRoom:
    """Counts the jobs of a worker's queues. `limits`: by queue, the number of its jobs that run at a time.

    `unreturned`: counts the jobs of a queue whose handlers still run although the worker has their outcome.
    """

    def __init__(self, queues: Sequence[str], limits: Mapping[str, int], unreturned: Callable[[str], int]) -> None:
        self._queues = queues
        self._limits = limits
        self._unreturned = unreturned
        self._busy = dict.fromkeys(limits, 0)
        self._queue_of: dict[tuple[str, str], str] = {}
        """The queue of each job that is counted, by its id and token."""

    def free(self, queue: str, most: int) -> int:
        """Return the number of jobs of a queue that can begin now, up to `most`."""
        limit = self._limits.get(queue)
        return most if limit is None else max(0, min(most, limit - self._busy[queue] - self._unreturned(queue)))

    @property
    def full(self) -> Collection[str]:
        """The queues of which no job can begin now."""
        return {queue for queue in self._limits if not self.free(queue, 1)}

    @property
    def open(self) -> list[str]:
        """The queues of which a job can begin now, in their order."""
        full = self.full
        return [queue for queue in self._queues if queue not in full]

    def roomy(self, most: int) -> list[str]:
        """Return the queues of which `most` jobs can begin now, in their order."""
        return [queue for queue in self._queues if self.free(queue, most) == most]

    def least(self, most: int) -> int:
        """Return the number of jobs that can begin now, up to `most`, whichever of the open queues they are from."""
        return min((self.free(queue, most) for queue in self.open), default=0)

    def take(self, job_id: str, token: str, queue: str) -> None:
        """Count a job that has been claimed."""
        if queue in self._limits:
            self._queue_of[job_id, token] = queue
            self._busy[queue] += 1

    def leave(self, job_id: str, token: str) -> bool:
        """Count a job that has ended. Returns whether its queue was full and is not any more."""
        queue = self._queue_of.pop((job_id, token), None)
        if queue is None:
            return False
        was_full = not self.free(queue, 1)
        self._busy[queue] -= 1
        return was_full and self.free(queue, 1) > 0


def queue_room(queues: Sequence[str], limits: Mapping[str, int], unreturned: Callable[[str], int]) -> QueueRoom | None:
    """Return the room of these queues; None if no queue has a limit."""
    own = {queue: limit for queue, limit in limits.items() if queue in queues}
    return QueueRoom(queues, own, unreturned) if own else None

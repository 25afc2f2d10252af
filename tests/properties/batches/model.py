"""What add_items promises of one shard, in plain Python, beside the Model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tests.properties.model.contents import Request
from tests.properties.model.model import Model

Answer = tuple[str, str, int]


@dataclass(frozen=True)
class Item:
    """An item to add. `request`: the job for a new batch, whose body ends where the items begin."""

    name: str
    id: str
    payload: str
    most: int
    wait: int
    head: str
    request: Request


def add_items(
    model: Model, now: int, full: bool, max_bytes: int, items: Sequence[Item], heads: Mapping[str, str]
) -> tuple[list[Answer], dict[str, str]]:
    """The answers, and the header of each job that was made, without its times. `heads`: those of the jobs before."""
    call = _Call(model, now, full, max_bytes, dict(heads))
    for item in items:
        call.look(item)
    return [call.add(item) for item in items], call.heads


class _Call:
    def __init__(self, model: Model, now: int, full: bool, max_bytes: int, heads: dict[str, str]) -> None:
        self.model, self.now, self.full, self.max_bytes, self.heads = model, now, full, max_bytes, heads
        self.made: set[str] = set()
        """The jobs that this call has made. Their definitions have no times yet."""

    def look(self, item: Item) -> None:
        """Forget the batch of this name, if it is not open."""
        found = self.model.batches.get(item.name)
        if found and not self._is_open(found[0], found[2]):
            del self.model.batches[item.name]

    def _is_open(self, job_id: str, due: int) -> bool:
        job = self.model.jobs.get(job_id)
        is_scheduled = due > self.now and self.model.scheduled.get(job_id) == due
        return is_scheduled and job is not None and job.status == "waiting" and job.claims == 0

    def add(self, item: Item) -> Answer:
        if item.id in self.model.items:
            return "there", self.model.items[item.id], 0
        if self.full:
            return "full", "", 0
        answer = "added"
        if item.name in self.model.batches and self._bytes_with(item) > self.max_bytes:
            self._close(item.name)
        if item.name not in self.model.batches:
            self._open(item)
            answer = "opened"
        job_id, count, due, most = self.model.batches[item.name]
        job = self.model.jobs[job_id]
        job.body = f"{job.body[:-2]},{item.payload}]}}" if count else f"{job.body}{item.payload}]}}"
        self.model.batches[item.name] = job_id, count + 1, due, most
        self.model.items[item.id] = job_id
        if count + 1 >= most:
            self._close(item.name)
        return answer, job_id, count + 1

    def _bytes_with(self, item: Item) -> int:
        job_id = self.model.batches[item.name][0]
        job = self.model.jobs[job_id]
        head = self.heads[job_id]
        if job_id in self.made:
            return len(head) + len(job.body) - 1 + len(item.payload)
        times = f"r={job.ready_at} c={job.created_at}"
        return len(f"{times} {head}" if head else times) + 1 + len(job.body) + len(item.payload)

    def _open(self, item: Item) -> None:
        request = replace(item.request, delay=item.wait)
        assert self.model.enqueue(self.now, False, [request]) == ["new"]
        self.heads[request.id] = item.head
        self.made.add(request.id)
        self.model.batches[item.name] = request.id, 0, self.now + item.wait, item.most

    def _close(self, name: str) -> None:
        job_id, *_ = self.model.batches.pop(name)
        job = self.model.jobs[job_id]
        del self.model.scheduled[job_id]
        job.ready_at = self.now
        self.model.lanes[job.queue, job.lane].append(job_id)
        self.model.awake.add(job.queue)

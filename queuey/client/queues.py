"""Calls about queues and workers: look at them, stop them, let them go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from urllib.parse import quote

from queuey.client.transport import Http
from queuey.protocol.models import PurgeReply, Queue, QueueList, WorkerInfo, WorkerList

PURGE_SECONDS = 10.0
"""How long the server may take over one step of a purge."""


class QueueCalls:
    """The part of Client that is about queues and workers. Everything here raises ClientError."""

    _http: Http

    async def queues(self) -> list[Queue]:
        """Every queue that the key may read, by name."""
        return (await self._http.call("GET", "/v1/queues", QueueList)).queues

    async def queue(self, name: str) -> Queue:
        """One queue. Raises NotFound."""
        return await self._http.call("GET", _queue(name), Queue)

    async def pause(self, name: str, reason: str | None = None) -> Queue:
        """Have it give out no jobs, and say why. It takes new ones all the same, and what runs goes on."""
        body = {} if reason is None else {"reason": reason}
        return await self._http.call("POST", _queue(name, "/pause"), Queue, body=body)

    async def resume(self, name: str) -> Queue:
        """Have it give out jobs again."""
        return await self._http.call("POST", _queue(name, "/resume"), Queue)

    async def purge(self, name: str, status: Sequence[Literal["queued", "scheduled"]] | None = None) -> PurgeReply:
        """Cancel the jobs that wait, or those of these statuses. As long as the answer says `more`, call again."""
        body = {} if status is None else {"status": list(status)}
        return await self._http.call("POST", _queue(name, "/purge"), PurgeReply, body=body, wait=PURGE_SECONDS)

    async def workers(self) -> list[WorkerInfo]:
        """Every worker of a queue that the key may read, by name."""
        return (await self._http.call("GET", "/v1/workers", WorkerList)).workers

    async def quiet(self, worker: str) -> WorkerInfo:
        """Have a worker take no more jobs, until it is started anew. What it runs goes on. Raises NotFound."""
        return await self._http.call("POST", f"/v1/workers/{quote(worker, safe='')}/quiet", WorkerInfo)


def _queue(name: str, rest: str = "") -> str:
    return f"/v1/queues/{quote(name, safe='')}{rest}"

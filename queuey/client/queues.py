"""Calls about queues and workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from urllib.parse import quote

from queuey.client.transport import Http
from queuey.protocol.models import Pulse, PurgeReply, Queue, QueueList, WorkerInfo, WorkerList

PURGE_SECONDS = 10.0
"""The seconds that the server may take for one step of a purge."""


class QueueCalls:
    """The calls of Client about queues and workers. All of them raise ClientError."""

    _http: Http

    async def queues(self) -> list[Queue]:
        """Return the queues that the key may read, by name."""
        return (await self._http.call("GET", "/v1/queues", QueueList)).queues

    async def queue(self, name: str) -> Queue:
        """Return one queue. Raises NotFound."""
        return await self._http.call("GET", _queue(name), Queue)

    async def pause(self, name: str, reason: str | None = None) -> Queue:
        """Pause a queue. Running jobs continue, and new jobs are accepted. `reason` is shown with the queue."""
        body = {} if reason is None else {"reason": reason}
        return await self._http.call("POST", _queue(name, "/pause"), Queue, body=body)

    async def resume(self, name: str) -> Queue:
        """Resume a paused queue."""
        return await self._http.call("POST", _queue(name, "/resume"), Queue)

    async def purge(self, name: str, status: Sequence[Literal["queued", "scheduled"]] | None = None) -> PurgeReply:
        """Cancel the waiting jobs, or only those with these statuses. Call again while the answer has `more`."""
        body = {} if status is None else {"status": list(status)}
        return await self._http.call("POST", _queue(name, "/purge"), PurgeReply, body=body, wait=PURGE_SECONDS)

    async def pulse(self) -> Pulse:
        """Return the queues and workers at one moment. Raises NotFound where the server is too old for it."""
        return await self._http.call("GET", "/v1/pulse", Pulse, query={"once": "1"})

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers of the queues that the key may read, by name."""
        return (await self._http.call("GET", "/v1/workers", WorkerList)).workers

    async def quiet(self, worker: str) -> WorkerInfo:
        """Let a worker claim no more jobs until it restarts. Its running jobs continue. Raises NotFound."""
        return await self._http.call("POST", f"/v1/workers/{quote(worker, safe='')}/quiet", WorkerInfo)


def _queue(name: str, rest: str = "") -> str:
    return f"/v1/queues/{quote(name, safe='')}{rest}"

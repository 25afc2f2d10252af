"""Workers that pull their jobs over HTTP, beside the replicas' own: they do the same deeds and keep the same ledger.

They live in the conductor's process, and one dies now and then: it forgets what it holds, and says nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import httpx
import msgspec

from tests.faults.evidence.ledger import NO_PROCESS, Ended, How, Ledger, Started, now
from tests.faults.load.handlers import Deed

PULLERS: Final = 2
AT_ONCE: Final = 3
WAIT: Final = 0.3
"""Seconds of a long poll."""
DIES: Final = 0.02
"""Of the jobs that one takes, the share at which it dies."""
RESENDS: Final = 8
PAUSE: Final = 0.1


class Puller:
    """One worker: lease, do, tell, again."""

    def __init__(
        self,
        number: int,
        http: httpx.AsyncClient,
        ledger: Ledger,
        urls: Sequence[str],
        rng: Random,
        lease: float,
        dies: bool,
    ) -> None:
        self._name = f"puller-{number}"
        self._http = http
        self._ledger = ledger
        self._urls = deque(urls)
        self._urls.rotate(number)
        self._rng = rng
        self._lease = lease
        self._dies = dies

    async def run(self, queues: list[str], stopping: asyncio.Event) -> None:
        """Until `stopping` is set; what it holds then it still does."""
        while not stopping.is_set():
            jobs = await self._take(queues)
            if self._dies and self._rng.random() < DIES:
                continue  # it dies with all that it holds, and another one is born
            await asyncio.gather(*map(self._do, jobs))

    async def _take(self, queues: list[str]) -> list[dict[str, Any]]:
        """A lost reply is asked for again with the same claim id, which brings the same jobs."""
        body = {
            "queues": queues,
            "max": self._rng.randint(1, AT_ONCE),
            "lease": self._lease,
            "wait": WAIT,
            "worker": self._name,
            "claim_id": f"{self._name}-{self._rng.getrandbits(64):x}",
        }
        for _ in range(RESENDS):
            reply = await self._post("/v1/leases", body)
            if reply is not None and reply.status_code == 200:
                return list(reply.json()["jobs"])
            await asyncio.sleep(PAUSE)
        return []

    async def _do(self, job: dict[str, Any]) -> None:
        job_id, token, attempt = job["id"], job["token"], job["attempt"]
        deed = msgspec.convert(job["payload"], Deed)
        self._ledger.write(Started(now(), job_id, job["type"], attempt, token, NO_PROCESS))
        await asyncio.sleep(deed.take + deed.block)
        extended = await self._tell("extend", {"id": job_id, "token": token, "lease": self._lease})
        if extended == "lost":
            self._end(job_id, token, "stopped")
            return
        cancelled = extended == "cancelled"
        how: How = "stopped" if cancelled else "failed" if attempt <= deed.fails else "ok"
        self._end(job_id, token, how)
        if how == "ok":
            await self._tell("complete", {"id": job_id, "token": token, "result": {"token": token}})
        else:
            await self._tell("fail", {"id": job_id, "token": token, "error": f"{how} at attempt {attempt}"})

    def _end(self, job_id: str, token: str, how: How) -> None:
        self._ledger.write(Ended(now(), job_id, token, how, NO_PROCESS))

    async def _tell(self, verb: str, item: dict[str, Any]) -> str:
        """The status of the job, `lost`, or '' when no answer came: then its lease will lapse."""
        for _ in range(RESENDS):
            reply = await self._post(f"/v1/leases/{verb}", item)
            if reply is not None and reply.status_code == 200:
                return str(reply.json()["status"])
            if reply is not None and reply.status_code == 409:
                return "lost"
            await asyncio.sleep(PAUSE)
        return ""

    async def _post(self, path: str, body: dict[str, Any]) -> httpx.Response | None:
        """To another server after each that fails, and soon enough that one which hangs costs no lease.

        Calls for several jobs fail at once: only the first one leaves the server.
        """
        url = self._urls[0]
        try:
            reply = await self._http.post(url + path, json=body, timeout=WAIT + self._lease / 5)
        except httpx.HTTPError:
            reply = None
        if (reply is None or reply.status_code >= 500) and url == self._urls[0]:
            self._urls.rotate(1)
        return reply


class Pullers:
    """`start`, then `stop`, which returns once they have done what they held."""

    def __init__(
        self, http: httpx.AsyncClient, ledger: Ledger, urls: Sequence[str], rng: Random, lease: float, *, die: bool
    ) -> None:
        self._pullers = [
            Puller(number, http, ledger, urls, Random(rng.random()), lease, die) for number in range(1, PULLERS + 1)
        ]
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, queues: list[str]) -> None:
        self._tasks = [asyncio.create_task(puller.run(queues, self._stopping)) for puller in self._pullers]

    async def stop(self) -> None:
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def abort(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

"""The schedules of the load: put before the clients begin, and paused once the fault has healed and no tick is late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import msgspec

from queuey.protocol.stored.schedules import Schedule
from tests.faults.evidence.ledger import Ledger, Scheduled, Unscheduled, now
from tests.faults.load.handlers import Deed
from tests.faults.store.view import StoreView

PERIOD_MS: Final = 1000
"""Each of them has a tick every second."""
PATIENCE: Final = 15.0
"""Seconds for calls that must succeed, and for ticks that are late."""
LOOK_EVERY: Final = 0.1
TIMEOUT: Final = 3.0


def _request(overlap: str, catch_up: str, take: float = 0.0, queue: str = "default", **when: Any) -> dict[str, Any]:
    job = {"type": "loop", "payload": msgspec.to_builtins(Deed(take=take)), "queue": queue, "max_attempts": 4}
    return {**(when or {"every": PERIOD_MS / 1000}), "overlap": overlap, "catch_up": catch_up, "job": job}


REQUESTS: Final = {
    "every-tick": _request("allow", "all"),
    "every-second": _request("allow", "all", cron="* * * * * *", timezone="Europe/Berlin", queue="other"),
    "with-jitter": _request("allow", "last", every=1, jitter=0.3),
    "one-waits": _request("queue_one", "last", take=1.3),
    "one-at-once": _request("skip", "skip", take=0.6),
    "the-last": _request("cancel_previous", "last", take=1.2, queue="other"),
}
"""The first two are the strictest: each of their ticks has a job."""


class Schedules:
    """`start`, then `stop`."""

    def __init__(
        self, http: httpx.AsyncClient, ledger: Ledger, url: Callable[[], str], look: Callable[[], Any]
    ) -> None:
        self._http = http
        self._ledger = ledger
        self._url = url
        self._look = look
        """Reads the store, past what stands between it and the replicas."""

    async def start(self) -> None:
        """Put them, and write down which ones they are. Raises RuntimeError."""
        view: StoreView = await self._look()
        asked_ms = view.time_ms
        for name, request in REQUESTS.items():
            await self._until_done("PUT", f"/v1/schedules/{name}", request)
        view = await self._look()
        for name, request in REQUESTS.items():
            stored = view.schedules[name]
            anchor_ms = stored.anchor_ms if "every" in request else 0
            put = Scheduled(now(), name, stored.uid, stored.created_ms, anchor_ms, request, asked_ms=asked_ms)
            self._ledger.write(put)

    async def stop(self) -> None:
        """Wait until each has had a tick and none is late, and pause them. The checks find a tick that stays late."""
        view: StoreView = await self._look()
        until_ms = view.time_ms
        give_up = time.monotonic() + PATIENCE
        while (
            any(each.last_tick_ms < 0 or is_late(each, until_ms) for each in view.schedules.values())
            and time.monotonic() < give_up
        ):
            await asyncio.sleep(LOOK_EVERY)
            view = await self._look()
        for name in view.schedules:
            await self._until_done("POST", f"/v1/schedules/{name}/pause", {"reason": "the load has ended"})
            self._ledger.write(Unscheduled(now(), name, until_ms))

    async def _until_done(self, method: str, path: str, body: Any) -> None:
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                reply = await self._http.request(method, self._url() + path, json=body, timeout=TIMEOUT)
                said = f"{reply.status_code} {reply.text[:300]}"
                if reply.is_success:
                    return
            except httpx.HTTPError as error:
                said = repr(error)
            if time.monotonic() > give_up:
                raise RuntimeError(f"{method} {path} was answered {said}")
            await asyncio.sleep(LOOK_EVERY)


def is_late(schedule: Schedule, until_ms: int) -> bool:
    """Whether a tick that was due at that time has not been decided."""
    return not schedule.pause and 0 <= schedule.due_ms <= until_ms

"""A pull worker's request that waits for leases, without a socket in between."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from tests.support.http import HOST, ApiRig
from tests.support.working import PATIENCE, QUICKLY

LONG: Final = 60.0


class Poller:
    """One request for leases, sent straight to the application, whose client can hang up."""

    def __init__(self, api: ApiRig, **asked: Any) -> None:
        self._body = json.dumps({"wait": LONG, **asked}).encode()
        self._hung_up = asyncio.Event()
        self._read = False
        self.messages: list[Any] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/leases",
            "query_string": b"",
            "headers": [(b"host", HOST.encode()), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 5),
        }
        self.task = asyncio.create_task(api.app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.messages.append(message)

    def hang_up(self) -> None:
        self._hung_up.set()

    async def ended(self, *, within: float = PATIENCE) -> None:
        async with asyncio.timeout(within):
            await asyncio.wait({self.task})
        self.task.result()

    async def jobs(self, *, within: float = QUICKLY) -> list[str]:
        """The ids in its answer."""
        await self.ended(within=within)
        assert self.messages[0]["status"] == 200, self.messages
        return [job["id"] for job in json.loads(self.messages[1]["body"])["jobs"]]

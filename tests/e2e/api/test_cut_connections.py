"""Clients that cut their connections at any moment: no other gets their replies, and the server goes on."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import pytest

from queuey.protocol import ids
from tests.support.serving import PATIENCE, Serving

REQUESTS = 300
AT_A_TIME = 50
KNOWN = 20


class Client:
    """Sends requests on connections of their own, and hangs up on about half: in the middle of the request, at once
    after it, or in the middle of the reply."""

    def __init__(self, server: Serving, known: list[str], seed: int) -> None:
        self._address = server.url.removeprefix("http://").split(":")
        self._known = known
        self._random = Random(seed)
        self._places = asyncio.Semaphore(AT_A_TIME)
        self.answered = 0
        self.cut = 0

    async def run(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(self._visit(number) for number in range(REQUESTS)))

    async def _visit(self, number: int) -> None:
        if number % 2:
            job_id = self._known[number % KNOWN]
            request, own = f"GET /v1/jobs/{job_id} HTTP/1.1\r\n", {"id": job_id, "payload": f"payload of {job_id}"}
            body = b""
        else:
            job_id = ids.new_id()
            body = json.dumps({"type": "echo", "id": job_id, "queue": "nobody"}).encode()
            request, own = "POST /v1/jobs HTTP/1.1\r\ncontent-type: application/json\r\n", {"job_id": job_id}
        head = f"{request}host: 127.0.0.1\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        async with self._places:
            reply = await self._exchange(head.encode() + body)
        if reply is None:
            self.cut += 1
        else:
            self.answered += 1
            assert own.items() <= reply.items()

    async def _exchange(self, request: bytes) -> dict[str, Any] | None:
        """The reply's JSON, None when it was cut off before."""
        moment = self._random.randrange(6)
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            if moment == 0:
                writer.write(request[: self._random.randrange(len(request))])
                return None
            writer.write(request)
            if moment == 1:
                for _ in range(self._random.randrange(20)):
                    await asyncio.sleep(0)
                return None
            if moment == 2:
                await reader.readexactly(self._random.randrange(1, 20))
                return None
            head, _, text = (await reader.read()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            return dict(json.loads(text))
        finally:
            writer.transport.abort()


@pytest.mark.parametrize("seed", range(2))
async def test_who_hangs_up_costs_no_other_anything(server: Serving, seed: int) -> None:
    known = [ids.new_id() for _ in range(KNOWN)]
    for job_id in known:
        server.submit("echo", f"payload of {job_id}", id=job_id, queue="nobody")
    client = Client(server, known, seed)
    await client.run()
    assert client.cut > REQUESTS / 4
    assert client.answered > REQUESTS / 4
    for job_id in known:
        assert server.job(job_id)["payload"] == f"payload of {job_id}"
    of_handlers = ('"event": "job_failed"', '"event": "job_dead"')  # of other tests, which fail on purpose
    lines = [line for line in server.lines if not any(event in line for event in of_handlers)]
    assert [line for line in lines if '"level": "error"' in line or "Traceback" in line] == []

"""What an HTTP server can do that has nothing to do."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

from bench import http_load
from bench.limits.bare import ENQUEUE, serving


async def rate(kind: str, folder: Path, requests: int, connections: int) -> float:
    """Requests per second that a bare server answers."""
    with serving(kind, folder) as port:
        return await _rate(port, requests, connections)


async def rate_and_half_load(kind: str, folder: Path, requests: int, connections: int) -> tuple[float, list[float]]:
    """The same, and the seconds that requests take which come half as fast."""
    with serving(kind, folder) as port:
        most = await _rate(port, requests, connections)
        return most, http_load.run_at_rate("127.0.0.1", port, ENQUEUE, requests // 2, most / 2, connections)


async def _rate(port: int, requests: int, connections: int) -> float:
    every: Iterator[bytes] = itertools.repeat(ENQUEUE, requests + connections)
    load = await http_load.run("127.0.0.1", port, every, connections, warm_up=connections)
    return requests / load.seconds


async def way_in(folder: Path, samples: int) -> list[float]:
    """Seconds from before a request is sent until a bare server's app is called, one request at a time."""
    request = http_load.post("/", b"{}")
    taken = []
    with serving("clock", folder) as port:
        async with http_load.connection("127.0.0.1", port) as connection:
            for _ in range(samples):
                began = time.monotonic_ns()
                called = int(await connection.ask(request))
                taken.append((called - began) / 1e9)
    return taken

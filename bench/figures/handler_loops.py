"""What handlers in an event loop of their own cost, and what they save the API beside handlers that compute."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import http_load
from bench.figures import draining, filling, latency
from bench.servers import server

LOOPS: Final = ("shared", "own")
JOBS: Final = 20_000
SAMPLES: Final = 300
BURN_MS: Final = 20
"""Of CPU that a job takes, without awaiting anything."""
RATE: Final = 50.0
"""Requests a second of each kind."""
SECONDS: Final = 10
CONNECTIONS: Final = 50
HEALTHZ: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
ENQUEUE: Final = http_load.post("/v1/jobs", filling.body().encode())


async def all_loops(folder: Path) -> list[float]:
    """For each loop: the drain in jobs/s, the median pick-up, and the 99th percentile of /healthz and of an enqueue."""
    found = []
    for loop in LOOPS:
        flags = ("--handler-loop", loop)
        parts = [folder / f"{loop}-{part}" for part in ("drain", "pick-up", "burn")]
        for part in parts:
            part.mkdir()
        found.append(await draining.drain(parts[0], JOBS, flags=flags))
        found.append(1e6 * statistics.median(await latency.pick_up(parts[1], SAMPLES, flags)))
        found += await _beside_burning(parts[2], flags)
    return found


async def _beside_burning(folder: Path, flags: Sequence[str]) -> list[float]:
    """The 99th percentiles in ms of both requests, while handlers take all the CPU that they get."""
    with server(folder / "data", *flags) as served:
        async with filling.broker_at(served.store_url) as broker:
            jobs = 2 * SECONDS * 1000 // BURN_MS
            await filling.fill(broker, jobs, f'{{"type":"bench.burn","payload":{BURN_MS}}}')
            count = round(RATE * SECONDS / 2)
            load = (served.host, served.port)
            times = []
            for request in (HEALTHZ, ENQUEUE):
                sent = await asyncio.to_thread(http_load.run_at_rate, *load, request, count, RATE, CONNECTIONS)
                times.append(1e3 * statistics.quantiles(sent, n=100, method="inclusive")[98])
    return times

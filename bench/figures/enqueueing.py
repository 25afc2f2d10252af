"""How fast jobs come in over HTTP, and how long one takes. No worker runs beside."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench import http_load
from bench.figures import filling
from bench.servers import Served, server

JOBS: Final = 20_000
CONNECTIONS: Final = 64
API_ONLY: Final = ("--roles", "api")


async def single_enqueue(
    folder: Path, jobs: int = JOBS, connections: int = CONNECTIONS, *, flags: tuple[str, ...] = (), size: int = 100
) -> float:
    """Jobs per second, one a request, each with a payload of so many bytes."""
    with server(folder / "data", *API_ONLY, *flags) as served:
        return await _singles(served, jobs, connections, size)


async def _singles(served: Served, jobs: int, connections: int, size: int = 100) -> float:
    requests: Iterator[bytes] = itertools.repeat(_one_job(size), jobs)
    seconds, _ = await http_load.run(served.host, served.port, requests, connections)
    return jobs / seconds


def _one_job(size: int) -> bytes:
    return http_load.post("/v1/jobs", filling.body(size=size).encode())


async def batch_enqueue(folder: Path, jobs: int = 100_000, size: int = 1000, connections: int = 4) -> float:
    """Jobs per second, `size` a request."""
    request = http_load.post("/v1/jobs/batch", f"[{','.join([filling.body()] * size)}]".encode())
    with server(folder / "data", *API_ONLY) as served:
        requests: Iterator[bytes] = itertools.repeat(request, jobs // size)
        seconds, _ = await http_load.run(served.host, served.port, requests, connections)
        return jobs / seconds


async def half_load(folder: Path, jobs: int = JOBS, connections: int = CONNECTIONS) -> list[float]:
    """Seconds that single enqueues take while they come half as fast as the same server has just taken them at most."""
    with server(folder / "data", *API_ONLY) as served:
        most = await _singles(served, jobs, connections)
        return http_load.run_at_rate(served.host, served.port, _one_job(100), jobs // 2, most / 2, connections)

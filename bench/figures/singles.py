"""Single enqueues over HTTP beside a bare uvicorn that answers the same requests: how much of it is left."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import cores
from bench.figures import enqueueing
from bench.limits import web
from bench.servers import server

JOBS: Final = 60_000
"""Some seconds of load."""
WARM_UP: Final = 2_000
"""Requests before the clock starts."""


@dataclass(frozen=True)
class Singles:
    """Requests and jobs per second and their share; latencies in ms; CPU in microseconds a request."""

    bare: float
    rate: float
    share: float
    p50: float
    p99: float
    server_cpu: float
    generator_cpu: float


async def singles(folder: Path, jobs: int = JOBS, connections: int = enqueueing.CONNECTIONS) -> Singles:
    """Measure uvicorn, Queuey and uvicorn again, so that both see the same machine."""
    before = await web.rate("uvicorn", folder, jobs // 2, connections)
    with server(folder / "data", *enqueueing.API_ONLY) as served:
        await enqueueing.load(served, WARM_UP, connections)
        used = cores.cpu_seconds(served.pid)
        load = await enqueueing.load(served, jobs, connections)
        used = cores.cpu_seconds(served.pid) - used
    bare = (before + await web.rate("uvicorn", folder, jobs // 2, connections)) / 2
    rate = jobs / load.seconds
    cuts = statistics.quantiles(load.latencies, n=100)
    return Singles(
        bare=bare,
        rate=rate,
        share=rate / bare,
        p50=cuts[49] * 1e3,
        p99=cuts[98] * 1e3,
        server_cpu=used / jobs * 1e6,
        generator_cpu=load.cpu_seconds / jobs * 1e6,
    )

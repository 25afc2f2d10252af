"""One run: each limit, and right after it the figure of Queuey that it is the limit of."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench import servers
from bench.figures import draining, enqueueing, filling, latency
from bench.limits import disk, store, web
from bench.limits.shares import Run, pick_up_limit
from queuey.store.connections.pipelined import connect

CONNECTIONS: Final = 64
REQUESTS: Final = 20_000
JOBS: Final = 20_000
BATCHED_JOBS: Final = 100_000
SAMPLES: Final = 200
STORE_SAMPLES: Final = 2_000
PIPELINES: Final = 200


async def run(say: Callable[[str], None]) -> Run:
    """Every limit and figure once, each with processes and a folder of its own. `say` hears what comes next."""
    found: Run = {}
    for name, measure in PARTS.items():
        say(name)
        with _folders() as folder:
            found |= await measure(folder)
    found["pick-up limit"] = pick_up_limit(found["sync p50"], found["script p50"], found["way in p50"])
    found["pick-up in process limit"] = pick_up_limit(found["sync p50"], found["script p50"])
    return found


Folder = Callable[[], Path]
"""Makes a fresh folder for one measurement."""


async def _single(folder: Folder) -> Run:
    uvicorn, waited = await web.rate_and_half_load("uvicorn", folder(), REQUESTS, CONNECTIONS)
    single = await enqueueing.single_enqueue(folder(), REQUESTS, CONNECTIONS)
    starlette = await web.rate("starlette", folder(), REQUESTS, CONNECTIONS)
    return {"uvicorn": uvicorn, "single": single, "starlette": starlette} | _times("uvicorn half load", waited)


async def _half_load(folder: Folder) -> Run:
    return _times("half load", await enqueueing.half_load(folder(), REQUESTS, CONNECTIONS))


async def _store_trips(folder: Folder) -> Run:
    with servers.store(folder() / "store") as url:
        client = connect(url, timeout=30, max_connections=CONNECTIONS)
        try:
            pings = await store.one_at_a_time(client.ping, STORE_SAMPLES)
            pings_at_once = await store.at_once(client.ping, CONNECTIONS, 10 * STORE_SAMPLES)
            scripts = await store.one_at_a_time(await store.empty_script(client), STORE_SAMPLES)
            writes = await store.one_at_a_time(lambda: client.set("written", store.VALUE), STORE_SAMPLES)
        finally:
            await client.aclose()
        piped = store.piped_sets(url, PIPELINES)
    return (
        {"pings at once": pings_at_once, "piped sets": piped}
        | _times("ping", pings)
        | _times("script", scripts)
        | _times("write", writes)
    )


async def _pick_up(folder: Folder) -> Run:
    synced = disk.syncs(folder(), SAMPLES)
    way_in = await web.way_in(folder(), SAMPLES)
    over_http = await latency.pick_up(folder(), SAMPLES)
    in_process = await latency.pick_up_in_process(folder(), SAMPLES)
    return (
        _times("sync", synced)
        | _times("way in", way_in)
        | _times("pick-up", over_http)
        | _times("pick-up in process", in_process)
    )


async def _batches(folder: Folder) -> Run:
    with servers.store(folder() / "store") as url:
        async with filling.broker_at(url) as broker:
            one_by_one = await store.enqueues(broker, BATCHED_JOBS // 2, in_flight=1)
            enqueues = await store.enqueues(broker, BATCHED_JOBS, store.IN_FLIGHT)
    batch = await enqueueing.batch_enqueue(folder(), BATCHED_JOBS)
    return {"enqueues one by one": one_by_one, "enqueues": enqueues, "batch": batch}


async def _drain(folder: Folder) -> Run:
    with servers.store(folder() / "store") as url:
        async with filling.broker_at(url) as broker:
            await filling.fill(broker, JOBS)
            worked = await store.claims_and_completes(broker, JOBS)
    return {"claims and completes": worked, "drain": await draining.drain(folder(), JOBS)}


PARTS: Final[dict[str, Callable[[Folder], Awaitable[Run]]]] = {
    "single enqueue": _single,
    "half load": _half_load,
    "round trips to the store": _store_trips,
    "pick-up": _pick_up,
    "batch enqueue": _batches,
    "drain": _drain,
}


def _times(name: str, seconds: Sequence[float]) -> Run:
    """The median and the 99th percentile, in ms."""
    cuts = statistics.quantiles(seconds, n=100)
    return {f"{name} p50": cuts[49] * 1000, f"{name} p99": cuts[98] * 1000}


@contextmanager
def _folders() -> Iterator[Folder]:
    """Folders that are removed together at the end."""
    with tempfile.TemporaryDirectory(prefix="queuey-limits-") as root:
        yield lambda: Path(tempfile.mkdtemp(dir=root))

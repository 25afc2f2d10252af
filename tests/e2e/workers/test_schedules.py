"""Schedules in servers: replicas fire each tick once, also when one of them is killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from queuey.protocol.models import ScheduleRequest
from queuey.protocol.stored.schedules import Run, to_run
from queuey.services.schedules.specs import SCHEDULE, to_text
from queuey.services.schedules.ticks import Ticks
from queuey.store.broker.broker import Broker
from queuey.store.broker.schedules import NewSchedule
from queuey.store.connections.pipelined import connect
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.e2e.conftest import Serve
from tests.support.stores import StartServer
from tests.support.working import eventually

NAMES = [f"every-second-{number}" for number in range(12)]
SPEC = b'{"every":1,"overlap":"allow","catch_up":"all","job":{"type":"echo","payload":"abc"}}'


@asynccontextmanager
async def broker_at(url: str, shards: int) -> AsyncIterator[Broker]:
    client = connect(url, timeout=30)
    yield Broker(Shards(client, shards), Scripts())
    await client.aclose()


async def put(broker: Broker) -> None:
    request = msgspec.json.decode(SPEC, type=ScheduleRequest)
    for name in NAMES:
        now_ms = time.time_ns() // 1_000_000
        next_ms = Ticks(request, now_ms).after(now_ms)
        assert next_ms is not None
        item = NewSchedule(name, f"U{name}", "", now_ms, next_ms, next_ms, to_text(request))
        ((word, _),) = await broker.schedules.put_schedules(broker.shards.of_schedule(name), [item])
        assert word == "new"


async def histories(broker: Broker) -> list[list[Run]]:
    """The runs of each schedule, the oldest first."""
    found = []
    for name in NAMES:
        _, ((_, lines),) = await broker.schedules.get_schedules(broker.shards.of_schedule(name), [name], 50)
        found.append([to_run(line) for line in reversed(lines)])
    return found


async def until_each_has(broker: Broker, count: int) -> None:
    async def enough() -> bool:
        return min(map(len, await histories(broker))) >= count

    await eventually(enough)


def check(runs: Sequence[Run]) -> None:
    """Each second from the first tick on was fired once, or was missed."""
    ticks = [run.tick_ms + 1000 * number for run in runs for number in range(run.count)]
    assert ticks == list(range(ticks[0], ticks[0] + 1000 * len(ticks), 1000))
    jobs = [run.job_id for run in runs if run.outcome == "fired"]
    assert len(set(jobs)) == len(jobs) > 0


@pytest.mark.parametrize("shards", [1, 4])
async def test_replicas_fire_each_tick_once_and_one_is_killed(
    serve: Serve, start_server: StartServer, shards: int
) -> None:
    url = start_server().url
    flags = ("--redis", url, "--shards", str(shards))
    servers = [await asyncio.to_thread(serve, *flags) for _ in range(2)]
    async with broker_at(url, shards) as broker:
        await put(broker)
        await until_each_has(broker, 2)
        servers[0].kill()
        seen = max(map(len, await histories(broker)))
        await until_each_has(broker, seen + 2)
        before = await histories(broker)
        metrics = servers[1].http.get("/metrics").text
    for runs in before:
        check(runs)
    fired = [line for line in metrics.splitlines() if line.startswith('queuey_schedule_ticks_total{outcome="fired"}')]
    assert float(fired[0].split()[1]) > 0, "the replica that is left fires"
    assert "queuey_schedule_late_seconds" in metrics


async def test_their_jobs_run(serve: Serve, start_server: StartServer) -> None:
    url = start_server().url
    server = await asyncio.to_thread(serve, "--redis", url)
    async with broker_at(url, 1) as broker:
        await put(broker)
        await until_each_has(broker, 1)
        (run, *_), *_ = await histories(broker)
    job = server.until(run.job_id, "succeeded")
    assert (job["result"], job["metadata"][SCHEDULE]) == ("abc", NAMES[0])

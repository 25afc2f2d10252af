"""How late 10,000 schedules fire, what that costs, and what they cost while nothing is due."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from bench.figures import filling, idleness
from bench.servers import server
from queuey.protocol.models import JobRequest, ScheduleRequest
from queuey.protocol.stored.schedules import to_run
from queuey.services.schedules.specs import to_text
from queuey.services.schedules.ticks import Ticks
from queuey.store.broker.broker import Broker
from queuey.store.broker.schedules import NewSchedule

SCHEDULES: Final = 10_000
PER_CALL: Final = 100
PUT_SECONDS: Final = 20
"""The time to put them, before the first one is due."""
MINUTE: Final = 60
DAY: Final = 86_400
AFTER_SECONDS: Final = 15
"""The time after the last tick, in which late ones may still fire."""
BEGIN_SECONDS: Final = 25
"""The time in which a new server has begun all that it repeats: before it, an idle one sends less than later."""


ROWS: Final = [
    *(
        (f"{what}, {when}", unit)
        for when in ("due over a minute", "due at one moment")
        for what, unit in (
            ("from the tick to the job p50", "ms"),
            ("from the tick to the job p99", "ms"),
            ("from the tick to the job at most", "ms"),
            ("fired", "schedules"),
            ("CPU of the server", "s"),
            ("CPU of the store", "s"),
        )
    ),
    *(
        (f"{what}, shards: {shards}", unit)
        for shards in (1, 4)
        for what, unit in (
            ("commands of an idle replica without schedules", "per s"),
            ("the same with 10,000 schedules", "per s"),
            ("its CPU with them", "% of a core"),
        )
    ),
]
"""The names and units of what `measure` returns."""


async def measure(folder: Path) -> Sequence[float]:
    """Measure all of it, each on a store of its own."""
    found: list[float] = []
    for place, figure in enumerate((spread_over_a_minute, at_one_moment)):
        (folder / str(place)).mkdir()
        found += astuple(await figure(folder / str(place)))
    for shards in (1, 4):
        (folder / f"idle{shards}").mkdir()
        found += await idle(folder / f"idle{shards}", shards)
    return found


@dataclass(frozen=True)
class Firing:
    """Lateness in ms, the number that has fired, and seconds of CPU of the server and of the store."""

    p50: float
    p99: float
    most: float
    fired: float
    server_cpu: float
    store_cpu: float


async def spread_over_a_minute(folder: Path) -> Firing:
    """Each second of a minute is the tick of as many schedules."""
    return await _fire(folder, MINUTE)


async def at_one_moment(folder: Path) -> Firing:
    """All schedules have the same tick."""
    return await _fire(folder, 1)


async def _fire(folder: Path, seconds: int) -> Firing:
    """Ticks that come once a day, in so many seconds from a full minute on."""
    with server(folder / "data") as served:
        async with filling.broker_at(served.store_url) as broker:
            now = time.time()
            first = (int(now + PUT_SECONDS) // MINUTE + 1) * MINUTE
            moments = [time.gmtime(first + number % seconds) for number in range(SCHEDULES)]
            crons = [f"{at.tm_sec} {at.tm_min} {at.tm_hour} * * *" for at in moments]
            names = await put_schedules(broker, crons, _JOB)
            if time.time() > first - 1:
                raise RuntimeError("The schedules took too long to put, so that the first ticks have passed.")
            pids = served.pid, served.store_pid
            used = [idleness.cpu_seconds(pid) for pid in pids]
            await asyncio.sleep(first + seconds + AFTER_SECONDS - time.time())
            used = [idleness.cpu_seconds(pid) - before for pid, before in zip(pids, used, strict=True)]
            late = await _lateness(broker, names)
    cuts = statistics.quantiles(late, n=100)
    return Firing(cuts[49], cuts[98], max(late), len(late), *used)


async def put_schedules(broker: Broker, crons: Sequence[str], job: JobRequest) -> list[str]:
    """Put schedules with these cron expressions. Return their names."""
    names = [f"bench{number}" for number in range(len(crons))]
    now_ms = time.time_ns() // 1_000_000
    for start in range(0, len(names), PER_CALL):
        by_shard: dict[int, list[NewSchedule]] = {}
        for name, cron in zip(names[start : start + PER_CALL], crons[start : start + PER_CALL], strict=True):
            request = ScheduleRequest(cron=cron, job=job)
            next_ms = Ticks(request, now_ms).after(now_ms)
            assert next_ms is not None
            item = NewSchedule(name, f"U{name}", "", now_ms, next_ms, next_ms, to_text(request))
            by_shard.setdefault(broker.shards.of_schedule(name), []).append(item)
        for shard, items in by_shard.items():
            answers = await broker.schedules.put_schedules(shard, items)
            assert all(word == "new" for word, _ in answers), answers[0]
    return names


async def _lateness(broker: Broker, names: list[str]) -> list[float]:
    found = []
    for start in range(0, len(names), PER_CALL):
        _, read = await broker.schedules.get_schedules(0, names[start : start + PER_CALL], 1)
        for _, lines in read:
            runs = [run for run in map(to_run, lines) if run.outcome == "fired"]
            found += [float(run.at_ms - run.tick_ms) for run in runs]
    return found


async def idle(folder: Path, shards: int = 1, seconds: float = 20) -> tuple[float, float, float]:
    """Commands per second of an idle replica: without schedules, and with 10,000 of them; and then its CPU in percent.

    Their ticks are half a day away."""
    with server(folder / "data", "--shards", str(shards)) as served:
        async with filling.broker_at(served.store_url, shards) as broker:
            await asyncio.sleep(BEGIN_SECONDS)
            before, _ = await _idle(broker, served.pid, seconds)
            at = time.gmtime(time.time() + DAY / 2)
            await put_schedules(broker, [f"0 {at.tm_min} {at.tm_hour} * * *"] * SCHEDULES, _JOB)
            await asyncio.sleep(idleness.SETTLE_SECONDS)
            after, used = await _idle(broker, served.pid, seconds)
    return before, after, used


async def _idle(broker: Broker, pid: int, seconds: float) -> tuple[float, float]:
    sent, used = await idleness.sent(broker), idleness.cpu_seconds(pid)
    await asyncio.sleep(seconds)
    used = idleness.cpu_seconds(pid) - used
    return (await idleness.sent(broker) - sent - 1) / seconds, 100 * used / seconds


_JOB: Final = JobRequest("bench.echo")

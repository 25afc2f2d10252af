"""Progress is gathered: the last of each job, one call a half second, from any thread."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

import msgspec
import pytest

from queuey.errors import StoreUnavailable
from queuey.protocol.ids import new_id
from queuey.protocol.models import ProgressReport
from queuey.services.reports import progress
from queuey.services.reports.progress import INTERVAL, ProgressRecorder
from queuey.store.broker.broker import Broker
from queuey.worker.handlers.context import Context
from tests.support.executions import make_work
from tests.support.virtual_time import in_virtual_time


class Store:
    """Stands in for the Broker; keeps what it is told, and when."""

    def __init__(self) -> None:
        self.told: list[tuple[float, dict[str, float]]] = []
        self.down = False
        self.seconds = 0.0
        self.shards = self.jobs = self
        self.count = 1

    def of_job(self, job_id: str) -> int:
        return 0

    async def progress(self, shard: int, reports: list[tuple[str, str, str]]) -> list[str]:
        if self.down:
            raise StoreUnavailable("away")
        await asyncio.sleep(self.seconds)
        now = asyncio.get_running_loop().time()
        self.told.append((now, {job_id: msgspec.json.decode(text)["done"] for job_id, _, text in reports}))
        return ["head" if token else "" for _, token, _ in reports]


def recorder(store: Store) -> ProgressRecorder:
    return ProgressRecorder(cast(Broker, store))


@in_virtual_time
async def test_the_first_goes_out_at_once_and_then_the_last_of_each_half_second() -> None:
    store = Store()
    told = recorder(store)
    a, b = new_id(), new_id()
    for number in range(40):
        told.record(a, "1.x", ProgressReport(number))
        if number == 3:
            told.record(b, "1.x", ProgressReport(7))
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    times = [at for at, _ in store.told]
    assert times[0] == 0
    assert all(later - earlier > INTERVAL - 1e-9 for earlier, later in pairwise(times))
    assert len(times) <= 10
    assert [found[b] for _, found in store.told if b in found] == [7]
    assert store.told[-1][1] == {a: 39}


@in_virtual_time
async def test_a_slow_store_is_not_asked_twice_at_a_time() -> None:
    store = Store()
    store.seconds = 10
    told = recorder(store)
    job_id = new_id()
    for number in range(25):
        told.record(job_id, "1.x", ProgressReport(number))
        await asyncio.sleep(1)
    await asyncio.sleep(60)
    assert [at for at, _ in store.told] == [10, 20, 30, 40]
    assert [found[job_id] for _, found in store.told][::3] == [0, 24]


@in_virtual_time
async def test_what_the_store_does_not_take_is_dropped_and_the_next_goes_out() -> None:
    store = Store()
    heard: list[str] = []
    told = ProgressRecorder(cast(Broker, store), lambda job_id, head, report: heard.append(job_id))
    job_id, lost = new_id(), new_id()
    store.down = True
    told.record(job_id, "1.x", ProgressReport(1))
    await asyncio.sleep(5)
    store.down = False
    told.record(job_id, "1.x", ProgressReport(2))
    told.record(lost, "", ProgressReport(2))
    await asyncio.sleep(5)
    assert [found for _, found in store.told] == [{job_id: 2, lost: 2}]
    assert heard == [job_id]


@in_virtual_time
async def test_it_holds_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MOST", 2)
    store = Store()
    told = recorder(store)
    ids = [new_id() for _ in range(4)]
    for number in (1, 2):
        for job_id in ids:
            told.record(job_id, "1.x", ProgressReport(number))
    await asyncio.sleep(1)
    assert [found for _, found in store.told] == [{ids[0]: 2, ids[1]: 2}]


async def test_threads_may_tell_it() -> None:
    store = Store()
    told = recorder(store)
    ids = [new_id() for _ in range(20)]

    def tell(job_id: str) -> None:
        for number in range(200):
            told.record(job_id, "1.x", ProgressReport(number))

    await asyncio.gather(*(asyncio.to_thread(tell, job_id) for job_id in ids))
    last: dict[str, float] = {}
    async with asyncio.timeout(20):
        while last != dict.fromkeys(ids, 199):
            await asyncio.sleep(0.01)  # the recorder's own timer is what is waited for
            for _, found in store.told:
                last |= found
    assert len(store.told) < 200 * len(ids)


# --- what a handler tells ----------------------------------------------------------------------------------------


def test_a_handler_tells_its_progress() -> None:
    work, told = make_work("t"), []
    work.report = lambda work, report: told.append(report)
    ctx = Context(work, None)
    ctx.progress(1)
    ctx.progress(0.5, 2, "half")
    ctx.progress(0, 0, "n" * 300)
    assert told == [ProgressReport(1), ProgressReport(0.5, 2, "half"), ProgressReport(0, 0, "n" * 200)]
    assert msgspec.json.encode(told[0]) == b'{"done":1}'


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1e16, "3", None])
def test_what_is_no_such_number_is_refused(value: Any) -> None:
    ctx = Context(make_work("t"), None)
    with pytest.raises((ValueError, TypeError)):
        ctx.progress(value)
    if value is not None:
        with pytest.raises((ValueError, TypeError)):
            ctx.progress(1, value)


def test_without_anybody_to_tell_it_does_nothing() -> None:
    Context(make_work("t"), None).progress(1, 2, "x")

"""The lines of jobs are collected: one call a second, each with all lines of an attempt; what is refused goes again."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from queuey.errors import StoreUnavailable
from queuey.protocol.ids import new_id
from queuey.services.reports import job_logs
from queuey.services.reports.job_logs import AT_ONCE, INTERVAL, RESEND_SECONDS, LogRecorder
from queuey.store.broker.broker import Broker
from tests.support.virtual_time import in_virtual_time


class Store:
    """Stands in for the Broker; keeps what it gets, and when."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, list[tuple[str, str, str]]]] = []
        self.down = False
        self.shards = self.jobs = self
        self.count = 1

    def of_job(self, job_id: str) -> int:
        return 0

    async def keep_log(self, shard: int, items: list[tuple[str, str, str]]) -> list[str]:
        self.calls.append((asyncio.get_running_loop().time(), items))
        if self.down:
            raise StoreUnavailable("away")
        return ["ok"] * len(items)


class Lines:
    def __init__(self) -> None:
        self.count = 0

    def text(self) -> str:
        return str(self.count)


def recorder(store: Store) -> LogRecorder:
    return LogRecorder(cast(Broker, store))


def work(token: str = "1.x", job_id: str | None = None) -> Any:
    return SimpleNamespace(id=job_id or new_id(), token=token)


@in_virtual_time
async def test_a_handler_that_logs_all_the_time_makes_one_call_a_second() -> None:
    store, one, lines = Store(), work(), Lines()
    logs = recorder(store)
    for _ in range(500):
        lines.count += 1
        logs.record(one, lines)
        await asyncio.sleep(0.01)
    await asyncio.sleep(2)
    times = [at for at, _ in store.calls]
    assert len(times) == 6
    assert all(later - earlier >= INTERVAL - 1e-9 for earlier, later in pairwise(times))
    assert store.calls[-1][1] == [(one.id, "1.x", "500")]


@in_virtual_time
async def test_the_next_attempt_of_a_job_does_not_replace_the_lines_of_the_one_before() -> None:
    store, first = Store(), work()
    logs = recorder(store)
    logs.record(first, Lines())
    await asyncio.sleep(0.1)
    logs.record(first, Lines())
    logs.record(work("2.y", first.id), Lines())
    await asyncio.sleep(2)
    assert sorted(token for _, token, _ in store.calls[-1][1]) == ["1.x", "2.y"]


@in_virtual_time
async def test_what_the_store_does_not_take_is_sent_again_for_a_while() -> None:
    store, one, lines = Store(), work(), Lines()
    logs = recorder(store)
    store.down = True
    logs.record(one, lines)
    await asyncio.sleep(3.5)
    lines.count = 7
    store.down = False
    await asyncio.sleep(2)
    assert store.calls[-1][1] == [(one.id, "1.x", "7")]
    count = len(store.calls)
    store.down = True
    logs.record(one, lines)
    await asyncio.sleep(10 * RESEND_SECONDS)
    assert len(store.calls) - count == RESEND_SECONDS + 1


@in_virtual_time
async def test_the_last_lines_are_sent_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_logs, "MOST", AT_ONCE + 2)
    store = Store()
    logs = recorder(store)
    logs.record(work(), Lines())
    await asyncio.sleep(0.1)
    for _ in range(AT_ONCE + 5):
        logs.record(work(), Lines())
    await logs.finish(5)
    assert [len(items) for _, items in store.calls] == [1, AT_ONCE, 2]
    await logs.finish(5)
    assert len(store.calls) == 3

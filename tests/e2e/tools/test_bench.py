"""Every figure of `make bench` can be taken: each once, small, on real processes. How large it is, is not looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import profile
from bench.figures import costs, draining, enqueueing, idleness, latency, pausing, pulling, singles
from bench.peers.brokers import measuring
from bench.peers.brokers.catalog import BROKERS
from bench.peers.brokers.report import MEASURED, OURS

pytestmark = pytest.mark.serial  # a figure takes every core

FEW = 200


@pytest.mark.parametrize(("shards", "processes"), [(1, 1), (4, 1), (1, 2)])
async def test_draining(folder: Path, shards: int, processes: int) -> None:
    assert await draining.drain(folder, FEW, shards=shards, processes=processes, pinned=processes == 1) > 0


async def test_payloads(folder: Path) -> None:
    assert await draining.drain_payload(folder, 256_000, 10) > 0


async def test_the_length_of_a_queue_that_is_topped_up(folder: Path) -> None:
    *rates, ratio = await draining.held_waiting(folder, most=3_000, jobs=500)
    assert min(rates) > 0
    assert ratio == rates[-1] / rates[0]


async def test_enqueueing(folder: Path) -> None:
    assert len(await enqueueing.half_load(folder, FEW, 4)) == FEW // 2


async def test_enqueueing_in_batches(folder: Path) -> None:
    assert await enqueueing.batch_enqueue(folder, 1_000, 100) > 0


async def test_single_enqueues_beside_a_bare_server(folder: Path) -> None:
    found = await singles.singles(folder, FEW, 4)
    assert found.share == found.rate / found.bare
    assert 0 < found.p50 <= found.p99
    assert min(found.server_cpu, found.generator_cpu) > 0


async def test_enqueueing_in_process_one_after_the_other(folder: Path) -> None:
    rate, p50 = await enqueueing.one_at_a_time(folder, 10)
    assert min(rate, p50) > 0


async def test_pauses_are_caused_and_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pausing, "EVERY_SECONDS", 0.2)
    found = await pausing.pauses(folder, seconds=1, probe=FEW)
    assert found.replies >= 1
    assert found.collections >= 1
    assert found.p99 <= found.p999 <= found.longest


async def test_pick_up(folder: Path) -> None:
    assert len(await latency.pick_up(folder, 3)) == 3


async def test_pick_up_by_another_process(folder: Path) -> None:
    assert len(await latency.pick_up_elsewhere(folder, 3)) == 3


async def test_pick_up_in_process(folder: Path) -> None:
    assert len(await latency.pick_up_in_process(folder, 3)) == 3


async def test_pulling(folder: Path) -> None:
    assert await pulling.drain(folder, 1_200, 2) > 0


async def test_pick_up_through_a_long_poll(folder: Path) -> None:
    assert len(await pulling.pick_up(folder, 3)) == 3


async def test_a_broker_is_measured_from_end_to_end() -> None:
    ours = next(broker for broker in BROKERS if broker.name == OURS)
    figures = await measuring.measure(ours, jobs=1_000, samples=3)
    assert set(figures) == {name for name, _, _ in MEASURED}
    assert min(figures.values()) > 0


@pytest.mark.parametrize("load", sorted(profile.LOADS))
async def test_a_profile_names_what_takes_the_time(folder: Path, monkeypatch: pytest.MonkeyPatch, load: str) -> None:
    monkeypatch.setattr(profile, "JOBS", 5_000)
    monkeypatch.setattr(profile, "BATCHES", 20)
    text = await profile.profile(profile.LOADS[load], folder)
    for line in ("| server |", "| store |", "| load generator |", "| run_to_end ", "| evalsha |"):
        assert line in text


async def test_lateness(folder: Path) -> None:
    late = await latency.lateness(folder, 50, 0.2)
    assert len(late) == 50
    assert min(late) > -0.002  # the clocks are the same one, read in milliseconds


async def test_costs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "SHORT_LEASE", "500ms")
    waiting, finished = await costs.memory(folder, 10 * FEW)
    assert 100 < waiting < finished


async def test_resident_memory(folder: Path) -> None:
    assert await costs.resident(folder, 5_000) > 0


async def test_cpu_of_the_store(folder: Path) -> None:
    cpu = await costs.cpu(folder, 10, costs.NO_FILE, FEW)
    assert min(cpu.enqueue, cpu.claim, cpu.complete) > 0


async def test_cpu_of_trimming(folder: Path) -> None:
    assert await costs.trim(folder, 1_000) > 0


async def test_idleness(folder: Path) -> None:
    sent, used = await idleness.idle(folder, 1)
    assert sent >= 0
    assert used >= 0

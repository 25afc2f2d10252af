"""Poison jobs are found, and no other job is taken for one, whatever workers there are."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from queuey.store.scripts import Scripts
from tests.properties.crashes.world import CHILDREN, START, Worker, World
from tests.support.scripts.faulty import scripts_with_fault
from tests.support.store import Server, client_for

SECOND, MINUTE = 1_000, 60_000
LOAD = 0.7
QUICK, SLOW = (200, 3_000), (20_000, 25_000)
"""After how many ms the two kinds of poison jobs kill."""
KINDS = {"children": (CHILDREN,), "plain": (0,), "both": (CHILDREN, 0)}


async def live(
    server: Server,
    scripts: Scripts,
    seed: int,
    kind: str,
    *,
    minutes: int = 8,
    gate: bool = True,
    poison: tuple[tuple[int, int], ...] = (QUICK, SLOW),
    load: float = LOAD,
    each: int = 3,
    spread: int = 1,
    settle: int = 60,
) -> World:
    """Send jobs of a minute, and `each` poison jobs of each kind in `spread` minutes. Then wait for the last end."""
    kinds, random = KINDS[kind], Random(seed)
    workers = [Worker(f"w{number}", 8, kinds[number % len(kinds)]) for number in range(4)]
    due = sorted((MINUTE + random.randrange(spread * MINUTE), between) for between in poison for _ in range(each))
    client = client_for(server.url)
    world = World(client, scripts, seed, workers)
    try:
        await world.open(gate=gate)
        while world.now < START + minutes * MINUTE:
            while due and START + due[0][0] <= world.now:
                await world.add(random.randint(*due.pop(0)[1]), poison=True)
            if random.random() < 32 * load / 60:
                await world.add(random.randrange(48_000, 72_000))
            await world.step()
        until = world.now + settle * MINUTE
        while world.under_way and world.now < until:
            await world.step()
    finally:
        await client.aclose()
    return world


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", KINDS)
async def test_each_poison_job_is_buried_and_no_other_job(server: Server, kind: str, seed: int) -> None:
    world = await live(server, Scripts(), seed, kind)
    assert not world.dead(poison=False)
    assert len(world.dead(poison=True)) == 6
    assert not world.under_way
    assert max(job.crashes for job in world.jobs.values() if not job.poison) < 10
    assert max(job.waited for job in world.jobs.values()) < 15 * MINUTE, "virtual time"


FAULTS: dict[str, tuple[str, str, str, str]] = {
    "a third crash is final without the mark": (
        "children",
        "maintenance/reap.lua",
        "state.A == 'a' and state.x >= MAX_CRASHES",
        "state.x >= MAX_CRASHES",
    ),
    "a lapsed lease of a child is final": (
        "children",
        "maintenance/reap.lua",
        "state.A == 'a' and state.x >= MAX_CRASHES",
        "state.A and state.x >= MAX_CRASHES",
    ),
    "nothing is final": (
        "plain",
        "maintenance/reap.lua",
        "state.A == 'a' and state.x >= MAX_CRASHES",
        "false",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_walk_sees(server: Server, tmp_path: Path, fault: str) -> None:
    kind, name, text, other = FAULTS[fault]
    scripts = scripts_with_fault(tmp_path, name, text, other)
    with pytest.raises(AssertionError):
        await live_well(server, scripts, kind)


async def live_well(server: Server, scripts: Scripts, kind: str) -> None:
    for seed in range(3):
        world = await live(server, scripts, seed, kind, settle=20)
        assert not world.dead(poison=False)
        assert all(job.crashes < 7 for job in world.dead(poison=True))

"""The Broker does what the model says, whatever is asked in whatever order: see machine.py.

    HYPOTHESIS_PROFILE=long pytest -o session_timeout=7200 tests/properties/test_broker_machine.py

looks at 2,000 examples, of other seeds each time. A test's name ends in its seed: HYPOTHESIS_SEED begins with that one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from queuey.store.connections.pipelined import StoreClient
from queuey.store.scripts import Scripts
from tests.properties.batches.rules import ItemMachine
from tests.properties.driver import Trace
from tests.properties.groups import GroupMachine
from tests.properties.logs import LogMachine
from tests.properties.running import FEW_NAMES, run_machine, with_few_names
from tests.properties.schedule_rules import ScheduleMachine
from tests.properties.unique.rules import UniqueMachine
from tests.support.scripts.plain_ways import IS_PLAIN, WatchedScripts, without_plain_ways
from tests.support.store import Server

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
FIRST_SEED = int(os.environ.get("HYPOTHESIS_SEED", secrets.randbelow(2**32) if LONG else 0))
RUNS = {1: 100, 3: 100} if LONG else {1: 10, 3: 6}


@pytest.mark.timeout(600)  # a failure is shrunk, which takes minutes
@pytest.mark.parametrize(("shards", "seed"), [(shards, FIRST_SEED + i) for shards in RUNS for i in range(RUNS[shards])])
def test_the_broker_does_what_the_model_says(server: Server, shards: int, seed: int) -> None:
    run_machine(server.url, shards, Scripts(), seed)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [FIRST_SEED + i for i in range(RUNS[3] // 2)])
def test_it_does_so_when_few_types_have_a_list_of_their_own(server: Server, tmp_path: Path, seed: int) -> None:
    run_machine(server.url, 1, with_few_names(tmp_path / "lua"), seed, names=FEW_NAMES)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("shards", "seed"), [(shards, FIRST_SEED + 100 + i) for shards in RUNS for i in range(RUNS[3] // 3)]
)
def test_it_does_so_when_attempts_log(server: Server, shards: int, seed: int) -> None:
    """No line is left behind by a job that is deleted, and the bytes of all that end are counted."""
    run_machine(server.url, shards, Scripts(), seed, kind=LogMachine)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("shards", "seed"), [(shards, FIRST_SEED + 200 + i) for shards in RUNS for i in range(RUNS[3])]
)
def test_it_does_so_with_schedules(server: Server, shards: int, seed: int) -> None:
    run_machine(server.url, shards, Scripts(), seed, kind=ScheduleMachine)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("shards", "seed"), [(shards, FIRST_SEED + 300 + i) for shards in RUNS for i in range(RUNS[3])]
)
def test_it_does_so_with_unique_jobs(server: Server, shards: int, seed: int) -> None:
    run_machine(server.url, shards, Scripts(), seed, kind=UniqueMachine)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("shards", "seed"), [(shards, FIRST_SEED + 400 + i) for shards in RUNS for i in range(RUNS[3])]
)
def test_it_does_so_with_batches_of_items(server: Server, shards: int, seed: int) -> None:
    run_machine(server.url, shards, Scripts(), seed, kind=ItemMachine)


class TwoReplicas(WatchedScripts):
    """Every other call is made with the scripts of another replica, which knows no plain ways."""

    def __init__(self, other: Path) -> None:
        super().__init__()
        self._own, self._other = WatchedScripts(), WatchedScripts(other)
        self._number = 0

    async def call(
        self, client: StoreClient, name: str, keys: tuple[str, str], argument: bytes, copies: int = 0
    ) -> bytes:
        self._number += 1
        scripts = (self._own, self._other)[self._number % 2]
        return await scripts.call(client, name, keys, argument, copies)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("shards", "seed"), [(1, FIRST_SEED), (1, FIRST_SEED + 1), (3, FIRST_SEED)])
def test_the_plain_ways_leave_the_same_store_after_each_step(
    server: Server, tmp_path: Path, shards: int, seed: int
) -> None:
    """The same examples with the plain ways and without. Many calls go the plain ways, and many do not."""
    folder = without_plain_ways(tmp_path)
    plain, general = WatchedScripts(), WatchedScripts(folder)
    traces: list[Trace] = []
    for scripts in (plain, general, TwoReplicas(folder)):
        traces.append([])
        run_machine(server.url, shards, scripts, seed, kind=GroupMachine, shrink=False, trace=traces[-1])
    for step, (one, *others) in enumerate(zip(*traces, strict=True)):
        assert others == [one, one], f"step {step}"
    assert {(name, False) for name in IS_PLAIN} == set(general.calls)
    assert {(name, way) for name in IS_PLAIN for way in (True, False)} == set(plain.calls)

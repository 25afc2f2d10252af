"""Scripts are tested on every kind of store, with one shard and with several.

A test for fewer kinds: `@pytest.mark.parametrize("kind", ["valkey"])`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.scripts.plain_ways import Twins, without_plain_ways
from tests.support.scripts.schedules import Timetable
from tests.support.store import Rig, Server, client_for
from tests.support.stores import KINDS, SHARDS, one_of

kind = one_of(*KINDS)
shards = one_of(*SHARDS)


@pytest.fixture(scope="session")
def general_ways(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripts without their plain ways."""
    return without_plain_ways(tmp_path_factory.mktemp("lua"))


@pytest.fixture
async def twins(server: Server, shards: int, general_ways: Path) -> AsyncIterator[Twins]:
    """Runs a scenario with the plain ways of the scripts and without, on the emptied store."""
    client = client_for(server.url)
    yield Twins(client, shards, general_ways)
    await client.aclose()


@pytest.fixture
async def plan(rig: Rig) -> Timetable:
    """A timetable on the emptied store, on which every replica knows schedules."""
    timetable = Timetable(rig)
    await timetable.open_gate()
    return timetable

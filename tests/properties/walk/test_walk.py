"""Lists set aside hold what docs/adr/0019 says of them, whatever workers come, claim, die and leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuey.store.scripts import Scripts
from tests.properties.walk.walk import TYPES, Walk
from tests.support.scripts.faulty import scripts_with_fault
from tests.support.store import Server, client_for

STEPS = 60
MANY = (*TYPES, *(f"z{number}" for number in range(80)))


async def walk(server: Server, scripts: Scripts, seed: int, *, many: bool = False, release: bool = False) -> Walk:
    client = client_for(server.url)
    walked = Walk(client, scripts, seed, MANY if many else TYPES)
    walked.releases_unknown = release
    try:
        await walked.run(STEPS)
    finally:
        await client.aclose()
    return walked


@pytest.mark.parametrize("seed", range(4))
async def test_each_job_is_begun_in_its_turn_by_a_worker_that_can(server: Server, seed: int) -> None:
    walked = await walk(server, Scripts(), seed)
    assert walked.counts["claims"] > STEPS


async def test_of_90_types_most_have_no_list_of_their_own(server: Server) -> None:
    walked = await walk(server, Scripts(), 1, many=True)
    assert walked.without_order


FAULTS = {
    "a plain release goes to the lane though the type has a list": (
        "release.lua",
        "else type = named_type(id, state) end",
        "end",
    ),
    "a purge forgets the lists": (
        "purge.lua",
        "for _, list in ipairs(lists[lane]) do purge_list(list[1], lane) end",
        "purge_list(ready_key(queue, lane), lane)",
    ),
    "there is no marker": (
        "include/naming.lua",
        "if type ~= REST then writes.wake",
        "if false then writes.wake",
    ),
    "new names are not published": (
        "include/naming.lua",
        "redis.call('PUBLISH'",
        "tostring('PUBLISH'",
    ),
    "a job of the lane does not go behind those of its type": (
        "include/typed.lua",
        "local is_first = not record.named or",
        "local is_first = true or",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_walk_sees(server: Server, tmp_path: Path, fault: str) -> None:
    scripts = scripts_with_fault(tmp_path, *FAULTS[fault])
    with pytest.raises(AssertionError):
        await walk_some(server, scripts)


async def walk_some(server: Server, scripts: Scripts) -> None:
    for seed in (1, 6, *range(2, 6)):  # 1 meets nearly all of them, which saves time
        await walk(server, scripts, seed)


async def test_the_walk_sees_workers_that_release_what_they_do_not_know(server: Server) -> None:
    """They get it back at once, and claim without end."""
    with pytest.raises(AssertionError, match="without end"):
        await walk(server, Scripts(), 0, release=True)

from __future__ import annotations

import asyncio

import pytest

from queuey.worker.claims import under_way
from queuey.worker.claims.under_way import UnderWay
from queuey.worker.turns import Turns


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim is late in the next pass of the event loop."""
    monkeypatch.setattr(under_way, "LATE_SECONDS", 0)


def turns_of(shards: int) -> Turns:
    return Turns(shards, lambda: None)


async def passes() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_late_claim_holds_up_no_other_and_its_shard_is_left_out() -> None:
    turns = turns_of(2)
    claims, late = UnderWay(turns), asyncio.Event()
    assert turns.next() == 0
    claims.begin(0, late.set)
    assert (claims.is_awaited, claims.is_late(0)) == (True, False)
    await late.wait()
    assert (claims.is_awaited, claims.is_late(0), bool(claims)) == (False, True, True)
    turns.wake(0)
    turns.answered(0, more=True, due_in_ms=-1)
    assert turns.next() == 1
    assert not turns, "the shard of the late claim is left out"
    claims.end(0)
    assert not claims
    assert turns.next() == 0


async def test_an_answer_in_time_is_not_late() -> None:
    turns = turns_of(2)
    claims = UnderWay(turns)
    claims.begin(turns.next(), lambda: pytest.fail("it was answered"))
    claims.end(0)
    await passes()
    assert not claims


async def test_a_claim_on_the_only_shard_is_never_late() -> None:
    claims = UnderWay(turns_of(1))
    claims.begin(0, lambda: pytest.fail("there is no other shard"))
    await passes()
    assert claims.is_awaited

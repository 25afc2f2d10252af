from __future__ import annotations

import asyncio
from typing import cast

import pytest

from queuey.services import health
from queuey.services.health import Health
from queuey.store.broker.broker import Broker


class Answers:
    """A broker that is asked whether it is reachable, and takes its time."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def reachable(self, max_age: float) -> bool:
        self.asked += 1
        return await self.answer


async def test_a_store_that_does_not_answer_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.01)
    checked = Health(cast(Broker, Answers()), "verified")
    assert await checked.ready() == (False, {"status": "store down", "redis": "down", "durability": "verified"})


async def test_one_who_goes_away_takes_no_answer_from_the_others() -> None:
    answers = Answers()
    checked = Health(cast(Broker, answers), "memory only")
    leaving, staying = asyncio.create_task(checked.store_up()), asyncio.create_task(checked.store_up())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    answers.answer.set_result(True)
    assert await staying
    assert leaving.cancelled()
    assert answers.asked == 1


async def test_a_note_does_not_turn_it_red() -> None:
    answers = Answers()
    answers.answer.set_result(True)
    checked = Health(cast(Broker, answers), "verified")
    checked.note = lambda: "All 2 threads for handlers are stuck."
    ready, body = await checked.ready()
    assert ready
    assert body["note"] == "All 2 threads for handlers are stuck."

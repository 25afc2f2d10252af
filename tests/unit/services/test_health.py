from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from queuey.errors import StoreUnavailable
from queuey.services import health
from queuey.services.health import Health
from queuey.store.broker.broker import Broker
from tests.support.virtual_time import block, in_virtual_time

PATIENCE = 5.0


class Answers:
    """A broker whose shards are asked whether they answer, and take their time."""

    def __init__(self, shards: int = 1) -> None:
        self.asked: list[int] = []
        self.shards = SimpleNamespace(count=shards)
        self.silent: set[int] = set()
        self.answers: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in range(shards)]

    def has_answered(self, shard: int, max_age: float) -> bool:
        return False

    async def ask(self, shard: int) -> None:
        self.asked.append(shard)
        await asyncio.shield(self.answers[shard])


def health_of(answers: Answers) -> Health:
    return Health(cast(Broker, answers), "verified")


async def test_a_store_that_does_not_answer_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.01)
    checked = health_of(Answers())
    assert await checked.ready() == (False, {"status": "store down", "redis": "down", "durability": "verified"})


async def test_one_who_goes_away_takes_no_answer_from_the_others() -> None:
    answers = Answers()
    checked = health_of(answers)
    leaving, staying = asyncio.create_task(checked.store_up()), asyncio.create_task(checked.store_up())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    answers.answers[0].set_result(None)
    assert await staying
    assert leaving.cancelled()
    assert answers.asked == [0]


async def test_a_note_does_not_turn_it_red() -> None:
    answers = Answers()
    answers.answers[0].set_result(None)
    checked = health_of(answers)
    checked.note = lambda: "All 2 threads for handlers are stuck."
    ready, body = await checked.ready()
    assert ready
    assert body["note"] == "All 2 threads for handlers are stuck."


@in_virtual_time
async def test_a_blocked_event_loop_does_not_turn_it_red() -> None:
    answers = Answers()
    checked = health_of(answers)
    asked = asyncio.create_task(checked.ready())
    for _ in range(3):
        await asyncio.sleep(0)
    assert answers.asked == [0]
    block(60)
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, answers.answers[0].set_result, None)  # read after the timers
    ready, _ = await asked
    assert ready


# --- several shards ------------------------------------------------------------------------------------------------


async def test_a_silent_shard_is_named_and_does_not_turn_it_red() -> None:
    answers = Answers(3)
    answers.answers[0].set_result(None)
    answers.answers[1].set_exception(StoreUnavailable("silent"))
    answers.answers[2].set_result(None)
    ready, body = await health_of(answers).ready()
    assert ready
    assert body == {"status": "ready", "redis": "up", "durability": "verified", "silent_shards": [1]}


async def test_all_shards_silent_turn_it_red() -> None:
    answers = Answers(2)
    for answer in answers.answers:
        answer.set_exception(StoreUnavailable("silent"))
    assert await health_of(answers).ready() == (
        False,
        {"status": "store down", "redis": "down", "durability": "verified"},
    )


async def test_a_shard_that_was_silent_before_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_SECONDS", 3600)
    answers = Answers(2)
    answers.silent.add(0)
    answers.answers[1].set_result(None)
    checked = health_of(answers)
    async with asyncio.timeout(PATIENCE):
        assert (await checked.ready())[1]["silent_shards"] == [0]
    assert answers.asked == [0, 1], "it is asked all the same"
    answers.answers[0].set_result(None)
    await checked.silent_shards()
    assert "silent_shards" not in (await checked.ready())[1]


async def test_it_is_waited_for_if_no_other_answers() -> None:
    answers = Answers(2)
    answers.silent |= {0, 1}
    asking = asyncio.create_task(health_of(answers).silent_shards())
    await asyncio.sleep(0)
    answers.answers[0].set_exception(StoreUnavailable("silent"))
    answers.answers[1].set_result(None)
    assert await asking == [0]

"""Questions and answers between a replica of `--processes` and its parent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec
import pytest

from queuey.services.peers import ALONE, Channel, Peers, Place

LONG = 30.0
"""Seconds that no answer here takes."""
SHORT = 0.01
"""Seconds to wait for an answer that does not come."""


class Held:
    """One who answers a question with the question, once `let_go` is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.reached = asyncio.Event()
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def answer(self, text: str) -> list[str]:
        self.asked.append(text)
        self.reached.set()
        await self.let_go.wait()
        return [text, "and more"]


class Pair(NamedTuple):
    asking: Channel
    other: Channel
    held: Held


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    ours, theirs = socket.socketpair()
    held = Held()
    pair = Pair(Channel(ours, Held().answer), Channel(theirs, held.answer), held)
    await pair.asking.open()
    await pair.other.open()
    yield pair
    pair.asking.close()
    pair.other.close()


async def test_a_question_brings_its_answer_in_both_directions(pair: Pair) -> None:
    large = "é" * 1_000_000
    questions = (pair.asking.ask("one", LONG), pair.asking.ask(large, LONG), pair.other.ask("back", LONG))
    assert list(await asyncio.gather(*questions)) == [["one", "and more"], [large, "and more"], ["back", "and more"]]


async def test_who_is_silent_is_waited_for_once_until_the_answer_comes(pair: Pair) -> None:
    pair.held.let_go.clear()
    assert await pair.asking.ask("first", SHORT) == []
    assert await pair.asking.ask("second", LONG) == [], "at once, since an answer is overdue"
    pair.held.let_go.set()
    answer: list[str] = []
    async with asyncio.timeout(LONG):
        while not answer:
            await asyncio.sleep(0)
            answer = await pair.asking.ask("third", LONG)
    assert answer == ["third", "and more"], "and not the answer to the first"
    assert pair.held.asked == ["first", "third"]


async def test_who_is_gone_has_no_answer(pair: Pair) -> None:
    pair.held.let_go.clear()
    asking = asyncio.create_task(pair.asking.ask("are you there", LONG))
    await pair.held.reached.wait()
    pair.other.close()
    assert await asking == []
    assert await pair.asking.ask("still?", LONG) == []


async def test_who_was_not_opened_has_no_answer() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours, Held().answer)
    assert await channel.ask("anybody?", LONG) == []
    channel.close()
    assert ours.fileno() == -1
    theirs.close()


@pytest.mark.parametrize("said", [b"\xff\xff\xff\xff", b"\0\0\0\1x", b"\0\0\0\2" + msgspec.msgpack.encode([])])
async def test_who_speaks_another_language_counts_as_gone(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours, Held().answer)
    await channel.open()
    with theirs:
        asking = asyncio.create_task(channel.ask("what?", LONG))
        await asyncio.sleep(0)
        theirs.sendall(said + b"\0" * 8)
        assert await asking == []
    channel.close()


async def test_a_replica_tells_what_it_is_asked_for_by_its_parent() -> None:
    ours, theirs = socket.socketpair()
    parent = Channel(ours, Held().answer)
    siblings = Peers(Place(2, 3, theirs), lambda content_type: f"mine as {content_type}")
    await parent.open()
    await siblings.open()
    assert await parent.ask("text", LONG) == ["mine as text"]
    assert await siblings.ask("text") == ["text", "and more"]
    parent.close()
    siblings.close()


async def test_without_a_parent_there_is_nobody_to_ask() -> None:
    siblings = Peers(ALONE, str)
    await siblings.open()
    assert await siblings.ask("text") == []
    assert (ALONE.number, siblings.count) == (0, 1)
    siblings.close()

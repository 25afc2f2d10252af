"""The reader of the events and those it reads for, against a stream in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from queuey.lifecycle import end_tasks
from queuey.services.events import subscribers as followers
from queuey.services.events.publisher import EventPublisher, JobEvent, _encode
from queuey.services.events.subscribers import EventSubscriber, EventSubscribers, position
from queuey.services.maintenance.loops import run_forever
from queuey.store.broker.broker import Broker
from queuey.store.pubsub import FIRST, READ_COUNT, Entry, EventStream
from tests.support.virtual_time import in_virtual_time


class Stream:
    """What each read brings, and what is kept."""

    def __init__(self) -> None:
        self.reads: asyncio.Queue[list[Entry]] = asyncio.Queue()
        self.kept: list[Entry] = []
        self.events = self

    async def last(self) -> str:
        return self.kept[-1][0] if self.kept else FIRST

    async def next(self, event_id: str) -> list[Entry]:
        return await self.reads.get()

    async def after(self, event_id: str, count: int) -> list[Entry] | None:
        ids = [entry[0] for entry in self.kept]
        return self.kept[ids.index(event_id) + 1 :][:count] if event_id in ids else None

    async def subscribe_events(self, ttl_ms: int) -> str:
        return "kept"

    def subscribed(self, ttl_ms: str) -> None:
        """As the feed is told."""


def entry(number: int, job_id: str = "job") -> Entry:
    return f"{number}-0", _encode(JobEvent("status", job_id, "t", "default", "queued"))


def wants_all(event: JobEvent) -> bool:
    return True


@asynccontextmanager
async def reading(stream: Stream) -> AsyncIterator[EventSubscribers]:
    fake: Any = stream
    followers = EventSubscribers(cast(Broker, fake), cast(EventStream, fake), cast(EventPublisher, fake), 10_000)
    task = asyncio.create_task(run_forever(followers))
    yield followers
    await end_tasks([task])


async def come(follower: EventSubscriber, count: int) -> list[str]:
    """The ids of the next so many events; 'reset' stands for one."""
    found: list[str] = []
    while len(found) < count:
        told = await follower.next(60)
        assert told, f"no more came than {found}"
        found += ["reset" if event.kind == "reset" else event_id for event_id, event in told]
    return found


@in_virtual_time
async def test_who_comes_back_before_the_reader_has_caught_up_gets_nothing_twice() -> None:
    stream = Stream()
    stream.kept = [entry(1), entry(2), entry(3)]
    async with reading(stream) as followers:
        early = await followers.subscribe(wants_all)
        back = await followers.subscribe(wants_all, "1-0")
        newest = await followers.subscribe(wants_all, "3-0")
        stream.reads.put_nowait([entry(2)])
        stream.reads.put_nowait([entry(3), entry(4)])
        assert await come(early, 3) == ["2-0", "3-0", "4-0"]
        assert await come(back, 3) == ["2-0", "3-0", "4-0"]
        assert await come(newest, 1) == ["4-0"]


def test_what_came_meanwhile_is_not_had_twice() -> None:
    follower = EventSubscriber(wants_all)
    for number in (2, 3, 4):
        follower.put((f"{number}-0", JobEvent("status")))
    follower.begin_with([(f"{number}-0", JobEvent("status")) for number in (2, 3)], "1-0")
    assert [event_id for event_id, _ in follower._waiting] == ["2-0", "3-0", "4-0"]


def test_after_a_reset_ids_may_begin_anew() -> None:
    follower = EventSubscriber(wants_all)
    follower.begin_with([], "9-0")
    for told in (("8-0", JobEvent("status")), followers.RESET, ("1-0", JobEvent("status"))):
        follower.put(told)
    assert [event_id for event_id, _ in follower._waiting] == ["", "1-0"]


@pytest.mark.parametrize(("kept", "expected"), [(True, "10-0"), (False, "reset")])
def test_a_reader_that_fell_behind_the_stream_tells_of_it(kept: bool, expected: str) -> None:
    @in_virtual_time
    async def test() -> None:
        stream = Stream()
        stream.kept = [entry(1)]
        async with reading(stream) as followers:
            follower = await followers.subscribe(wants_all)
            stream.kept = [entry(1)] if kept else [entry(10)]
            stream.reads.put_nowait([entry(10 + number) for number in range(READ_COUNT)])
            assert (await come(follower, READ_COUNT))[0] == expected

    test()


@in_virtual_time
async def test_a_short_read_asks_for_no_more() -> None:
    stream = Stream()
    stream.kept = [entry(1)]
    async with reading(stream) as followers:
        follower = await followers.subscribe(wants_all)
        stream.kept = []
        stream.reads.put_nowait([entry(10 + number) for number in range(READ_COUNT - 1)])
        assert "reset" not in await come(follower, READ_COUNT - 1)


@in_virtual_time
async def test_who_follows_one_job_is_asked_of_no_other() -> None:
    asked: list[str] = []

    def wants(event: JobEvent) -> bool:
        asked.append(event.job_id)
        return True

    stream = Stream()
    async with reading(stream) as followers:
        one, other = [await followers.subscribe(wants, job_id=job_id) for job_id in ("a", "b")]
        stream.reads.put_nowait([entry(1, "a"), entry(2, "c"), entry(3, "b")])
        assert (await come(one, 1), await come(other, 1)) == (["1-0"], ["3-0"])
        assert asked == ["a", "b"]
        followers._deliver(("", JobEvent("reset")))
        assert (await come(one, 1), await come(other, 1)) == (["reset"], ["reset"])
        for follower in (one, one, other):
            followers.leave(follower)
        assert (followers.count, followers._of_job) == (0, {})


@in_virtual_time
async def test_others_have_their_turn_while_many_are_told() -> None:
    stream = Stream()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    at: list[int] = []

    def wants(event: JobEvent) -> bool:
        at.append(turns)
        return True

    async with reading(stream) as following:
        many = [await following.subscribe(wants) for _ in range(100)]
        stream.reads.put_nowait([entry(1 + number) for number in range(100)])
        task = asyncio.create_task(others())
        assert len(await come(many[-1], 100)) == 100
        await end_tasks([task])
    assert at[-1] - at[0] >= 100 * 100 // followers.SLICE - 2


def test_ids_are_compared_as_numbers() -> None:
    assert position("9-10") < position("10-9")

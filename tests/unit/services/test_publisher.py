"""What the feed asks of the store, and when it falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from queuey.protocol.records import StoredJob
from queuey.services.events.publisher import GET_BATCH, EventPublisher, JobEvent, decode
from queuey.store.broker.broker import Broker
from tests.support.virtual_time import in_virtual_time


class Store:
    """One shard. What it is told is answered when `answers` is set, with `word`."""

    def __init__(self) -> None:
        self.shards = self.jobs = self.events = self
        self.count = 1
        self.word = "ok"
        self.told: list[JobEvent] = []
        self.gets: list[int] = []
        self.stored: StoredJob | None = None
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    def of_job(self, job_id: str) -> int:
        return 0

    async def publish_event(self, events: Sequence[str]) -> list[str]:
        word = self.word
        self.told += map(decode, events)
        self.asked.set()
        await self.answers.wait()
        return [word] * len(events)

    async def get(self, shard: int, job_ids: Sequence[str]) -> list[StoredJob | None]:
        self.gets.append(len(job_ids))
        await self.answers.wait()
        return [self.stored] * len(job_ids)


def feed_of(store: Store) -> EventPublisher:
    fake: Any = store
    feed = EventPublisher(cast(Broker, fake))
    feed.subscribed("30000")
    return feed


def publish(feed: EventPublisher, job_id: str) -> None:
    feed.status(job_id, "t", "default", "queued", 0)


@in_virtual_time
async def test_a_job_that_is_gone_before_the_look_up_leaves_a_reset() -> None:
    store = Store()
    store.stored = StoredJob("", "", -1, -1)
    feed = feed_of(store)
    feed.moved("gone", "cancelled")
    await feed.drain()
    publish(feed, "next")
    await feed.drain()
    assert [(event.kind, event.job_id) for event in store.told] == [("reset", ""), ("status", "next")]


@in_virtual_time
async def test_few_jobs_are_read_whole_at_a_time() -> None:
    store = Store()
    feed = feed_of(store)
    for number in range(100):
        feed.moved(str(number), "cancelled")
    await feed.drain()
    assert (sum(store.gets), max(store.gets)) == (100, GET_BATCH)


@in_virtual_time
async def test_when_nobody_follows_it_falls_silent() -> None:
    store = Store()
    store.word = "nobody"
    feed = feed_of(store)
    publish(feed, "a")
    await feed.drain()
    assert not feed.on


@in_virtual_time
async def test_an_old_answer_does_not_silence_it_for_one_who_has_just_come() -> None:
    store = Store()
    store.word = "nobody"
    store.answers.clear()
    feed = feed_of(store)
    publish(feed, "a")
    await store.asked.wait()
    feed.subscribed("30000")
    store.word = "ok"
    store.answers.set()
    await feed.drain()
    assert feed.on
    publish(feed, "b")
    await feed.drain()
    assert [event.kind for event in store.told] == ["status", "reset", "status"]


@in_virtual_time
async def test_an_enqueue_that_is_reported_after_the_claim_does_not_take_the_attempt_back() -> None:
    store = Store()
    feed = feed_of(store)
    feed.status("a", "t", "mail", "running", 1)
    feed.status("a", "t", "mail", "queued", 0)
    feed.moved("a", "succeeded")
    await feed.drain()
    assert [(event.status, event.attempt) for event in store.told] == [("running", 1), ("queued", 0), ("succeeded", 1)]


@in_virtual_time
async def test_what_happens_to_a_job_while_it_is_looked_up_comes_after_that() -> None:
    store = Store()
    store.answers.clear()
    store.stored = StoredJob('r=1 q=mail\n{"type":"t"}', "s=s n=1 p=1.c o=s", -1, -1)
    feed = feed_of(store)
    feed.moved("a", "queued")
    feed.status("a", "t", "mail", "running", 1)
    feed.moved("a", "succeeded")
    publish(feed, "b")
    store.answers.set()
    await feed.drain()
    assert [event.status for event in store.told if event.job_id == "a"] == ["queued", "running", "succeeded"]
    assert {(event.type, event.queue) for event in store.told if event.job_id == "a"} == {("t", "mail")}


@in_virtual_time
async def test_two_moves_that_are_looked_up_keep_their_order() -> None:
    store = Store()
    store.answers.clear()
    store.stored = StoredJob('r=1\n{"type":"t"}', "s=c", -1, -1)
    feed = feed_of(store)
    feed.moved("a", "queued")
    feed.moved("a", "cancelled")
    store.answers.set()
    await feed.drain()
    assert [event.status for event in store.told] == ["queued", "cancelled"]


@in_virtual_time
async def test_a_job_that_cannot_be_read_has_no_event_and_loses_none_of_the_others() -> None:
    store = Store()
    store.answers.clear()
    store.stored = StoredJob("r=1\nnot JSON", "", -1, -1)
    feed = feed_of(store)
    feed.moved("a", "queued")
    feed.status("a", "", "mail", "running", 1)
    store.answers.set()
    await feed.drain()
    assert [event.status for event in store.told] == ["running"]

"""The frames of a pulse: who gets which, how often they are made, and what a slow or refused follower gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from queuey.errors import Full, StoreUnavailable
from queuey.protocol.credentials import Grant, Principal
from queuey.protocol.models import Queue, QueueList, WorkerInfo
from queuey.services import pulse as module
from queuey.services.pulse import Follower, Pulses, part_of
from queuey.store.broker.broker import Broker
from queuey.store.replies import Vitals

NOW = datetime(2026, 12, 1, tzinfo=UTC)
ALL = Principal("ops", (Grant("read"),))
ALSO_ALL = Principal("other", (Grant("read"),))
MAIL = Principal("mail", (Grant("read", "mail"),))
WAIT = 5.0


def queue(name: str) -> Queue:
    return Queue(
        name=name, paused=False, high=1, default=2, low=3, running=4, scheduled=5, dead_letter=6, finished=0,
        claimable=6, paused_by=None, pause_reason=None, paused_at=None, oldest_age=None, workers=[], claimable_age=None,
        waiting_for_handler={},
    )  # fmt: skip


def worker(name: str, *queues: str, gone: bool = False) -> WorkerInfo:
    return WorkerInfo(
        name=name, replica=name, kind="process", slots=10, busy=2, jobs=["j"], queues=list(queues), types=[],
        last_seen=NOW, quiet=False, started_at=NOW, version="1", key="", app="", gone=gone,
    )  # fmt: skip


class Store:
    """A store with two queues, and what it was asked. `error`: what it answers with instead."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.queues = [queue("mail"), queue("web")]
        self.error: Exception | None = None

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    async def show_queues(self, *_: object) -> QueueList:
        self._ask("queues")
        return QueueList(self.queues)

    async def list_workers(self, *_: object) -> list[WorkerInfo]:
        self._ask("workers")
        return [worker("one", "mail"), worker("two", "mail", "web"), worker("old", "web", gone=True)]

    async def vitals(self) -> Vitals:
        self._ask("vitals")
        return Vitals("run", 1, 0.25)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(module, "show_queues", store.show_queues)
    monkeypatch.setattr(module, "list_workers", store.list_workers)
    return store


@pytest.fixture
async def pulses(store: Store) -> AsyncIterator[Pulses]:
    made = Pulses(cast(Broker, store), 3, 1.0, 60.0)
    running = asyncio.create_task(made.run_once())
    yield made
    running.cancel()
    await asyncio.wait({running})


def frame_of(event: bytes | None) -> dict[str, Any]:
    assert event is not None
    assert event.startswith(b"event: pulse\ndata: ")
    return cast(dict[str, Any], msgspec.json.decode(event.split(b"data: ")[1]))


async def test_without_followers_nothing_is_asked(store: Store, pulses: Pulses) -> None:
    for _ in range(10):
        await asyncio.sleep(0)
    assert store.asked == []


async def test_all_followers_share_a_frame_which_is_encoded_once_for_the_same_rights(
    store: Store, pulses: Pulses
) -> None:
    followers = [pulses.follow(ALL), pulses.follow(ALSO_ALL), pulses.follow(MAIL)]
    events = [await follower.next(WAIT) for follower in followers]
    assert sorted(store.asked) == ["queues", "vitals", "workers"]
    assert events[0] is events[1]
    assert [one["name"] for one in frame_of(events[0])["queues"]] == ["mail", "web"]
    assert [one["name"] for one in frame_of(events[2])["queues"]] == ["mail"]


async def test_after_the_last_follower_it_ends(store: Store, pulses: Pulses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.0)
    follower = pulses.follow(ALL)
    await follower.next(WAIT)
    await follower.next(WAIT)
    pulses.leave(follower)
    for _ in range(10):
        await asyncio.sleep(0)
    asked = len(store.asked)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(store.asked) == asked
    assert store.asked.count("vitals") == 1


def test_the_totals_are_those_of_what_is_shown() -> None:
    frame = module._pulse(
        [queue("mail"), queue("web")], [worker("one", "mail"), worker("old", "web", gone=True)], 0.5, 1, msgspec.UNSET
    )
    assert msgspec.structs.astuple(frame.totals) == (12, 8, 10, 12, 10, 2)
    part = part_of(frame, MAIL)
    assert msgspec.structs.astuple(part.totals) == (6, 4, 5, 6, 10, 2)
    assert (part.at, part.store_used) == (frame.at, 0.5)


def test_a_worker_of_other_queues_too_is_shown_without_its_jobs() -> None:
    frame = module._pulse([], [worker("two", "mail", "web"), worker("three", "web")], 0, 1, msgspec.UNSET)
    assert [(one.name, one.queues, one.jobs) for one in part_of(frame, MAIL).workers] == [("two", ["mail"], [])]


async def test_more_than_64_queues_come_each_two_seconds(store: Store) -> None:
    pulses = Pulses(cast(Broker, store), 1, 1.0, 60.0)
    store.queues = [queue(f"q{number}") for number in range(64)]
    assert (await pulses.once(ALL)).every == 1.0
    store.queues.append(queue("q64"))
    assert (await pulses.once(ALL)).every == 2.0


async def test_a_store_that_does_not_answer_is_said_and_the_stream_goes_on(
    store: Store, pulses: Pulses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 0.0)
    store.error = StoreUnavailable("The store does not answer.")
    follower = pulses.follow(ALL)
    assert await follower.next(WAIT) == b'event: gone\ndata: {"detail":"The store does not answer."}\n\n'
    store.error = None
    while (event := await follower.next(WAIT)) is not None and event.startswith(b"event: gone"):
        pass
    assert frame_of(event)["queues"]


async def test_a_slow_follower_gets_the_latest_only() -> None:
    follower = Follower(ALL)
    follower.put(b"1")
    follower.put(b"2")
    assert (await follower.next(WAIT), await follower.next(0)) == (b"2", None)


async def test_there_is_a_limit_and_one_that_leaves_makes_room(pulses: Pulses) -> None:
    followers = [pulses.follow(ALL) for _ in range(3)]
    with pytest.raises(Full):
        pulses.follow(ALL)
    pulses.leave(followers[0])
    pulses.follow(ALL)


async def test_the_end_of_the_server_ends_the_streams(pulses: Pulses) -> None:
    follower = pulses.follow(ALL)
    pulses.close()
    await follower.next(WAIT)
    assert follower.over
    assert pulses.follow(ALL).over

"""The shares of types in an executor: nested rooms offer no place twice, and every type that can begin has some."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuey.errors import StartupError
from queuey.store.asides import Room
from queuey.worker.executors.rooms import ExecutorRoom
from queuey.worker.handlers.app import App
from queuey.worker.slots import Slots

TYPES = ("a", "b", "c", "d")


def shares_of(room: ExecutorRoom, most: int) -> dict[tuple[str, ...], int]:
    return {tuple(share.types): share.jobs for share in room.shares(most)}


@given(
    slots=st.none() | st.integers(1, 12),
    concurrency=st.dictionaries(st.sampled_from(TYPES), st.integers(1, 6)),
    running=st.lists(st.sampled_from(TYPES), max_size=12),
    most=st.integers(0, 12),
)
def test_whatever_a_claim_brings_can_begin(
    slots: int | None, concurrency: dict[str, int], running: list[str], most: int
) -> None:
    room = ExecutorRoom("thread", TYPES, slots, concurrency=concurrency)
    counted = Slots(100, [room])
    counted.take(len(running), running)
    places = most if slots is None else max(0, min(most, slots - len(running)))
    free = {type: min(places, max(0, concurrency.get(type, 100) - running.count(type))) for type in TYPES}
    shares = shares_of(room, most)
    assert sorted(type for types in shares for type in types) == sorted(TYPES), "each type has one share"
    for types, jobs in shares.items():
        for type in types:
            assert jobs <= free[type]
            assert (jobs > 0) == (free[type] > 0), "and none has to wait for its turn"
            assert room.free_for(type, most) == free[type]
    together = sum(shares.values())
    assert room.free(most) == min(places, sum(free.values()))
    if slots is not None:
        assert together <= places, "no place is offered twice"
        if len([jobs for jobs in shares.values() if jobs]) > 1:
            assert together == room.free(most), "and none is kept back"


def test_places_are_divided_among_types() -> None:
    room = ExecutorRoom("thread", TYPES, 8, concurrency={"a": 5, "b": 1})
    assert shares_of(room, 20) == {("c", "d"): 4, ("b",): 1, ("a",): 3}
    assert shares_of(room, 3) == {("a", "c", "d"): 2, ("b",): 1}
    assert shares_of(room, 1) == {("a", "b", "c", "d"): 1}
    slots = Slots(20, [room])
    slots.take(7, ["a", "c", "b", "c", "c", "c", "c"])
    assert slots.rooms(slots.free) == [Room(1, ["a", "c", "d"]), Room(0, ["b"])]
    assert (slots.mixed, slots.free, slots.least) == (True, 1, 0)
    slots.leave("b")
    assert [slots.room_for(type) for type in TYPES] == [2, 1, 2, 2]


def test_a_type_in_the_event_loop_has_its_limit_within_that_of_the_claim() -> None:
    room = ExecutorRoom("loop", ["a", "b"], concurrency={"a": 2})
    assert shares_of(room, 10) == {("b",): 10, ("a",): 2}
    only = ExecutorRoom("loop", ["a"], concurrency={"a": 2})
    assert (only.free(10), shares_of(only, 10)) == (2, {("a",): 2})


def test_a_thread_that_does_not_return_counts_for_its_type() -> None:
    room = ExecutorRoom("thread", ["a", "b"], 4, lambda: 1, {"a": 1}, lambda type: int(type == "a"))
    assert shares_of(room, 10) == {("b",): 3, ("a",): 0}


@pytest.mark.parametrize("concurrency", [0, -1, 10_001, True, 2.0, "5"])
def test_a_limit_that_is_refused(concurrency: object) -> None:
    app = App()
    with pytest.raises(StartupError, match=r"test_rooms.py:\d+\): concurrency=.* 1 to 10000; leave it out"):

        @app.job("t", concurrency=concurrency)  # type: ignore[arg-type]
        async def handler(payload: None) -> None: ...

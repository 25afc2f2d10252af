"""Invariant 15 turns red when a tick is fired twice, lost or not decided, and is green where the rules leave it out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from queuey.protocol import ids
from queuey.protocol.stored.schedules import RUNS_KEPT, Run
from tests.faults.evidence.invariants import NS, check
from tests.faults.evidence.ledger import Ended, Scheduled, Started, Unscheduled
from tests.faults.evidence.ticks import CAUGHT_UP
from tests.faults.evidence.world import World
from tests.faults.faults.base import forgotten

Spoil = Callable[[World, str, list[int]], object]
"""Of a world, the name of a schedule and its ticks."""
TICKS = 5


def found(world: World) -> list[str]:
    """All violations, of whatever invariant."""
    return [f"{number}: {message}" for number, message in check(world.evidence())]


def peaceful(overlap: str = "allow", catch_up: str = "all", ticks: int = TICKS) -> tuple[World, list[int]]:
    world = World()
    return world, world.schedule("s", ticks, overlap=overlap, catch_up=catch_up)


def remove_job(world: World, name: str, tick: int) -> None:
    """As if it had never been made, but for its line in the history."""
    job_id = ids.of_tick(name, "u", tick)
    del world.view.jobs[job_id]
    world.view.places[0, "done:default"].remove(job_id)
    world.view.queues[0, "default"]["done_bytes"] = str(100 * len(world.view.places[0, "done:default"]))
    for counter in ("enqueued", "claimed", "succeeded"):
        world.count(counter, -1)
    world.events = [e for e in world.events if not (isinstance(e, Started | Ended) and e.job == job_id)]


def line(world: World, name: str, tick: int, **changes: object) -> None:
    """Change the line of a tick in the history; without changes, remove it."""
    runs = world.view.runs[name]
    (place,) = (place for place, run in enumerate(runs) if run.tick_ms == tick)
    runs[place : place + 1] = [replace(runs[place], **changes)] if changes else []


def leave_out(world: World, name: str, tick: int, outcome: str = "", count: int = 1) -> None:
    """No job for a tick, and a history that says so, or says nothing."""
    remove_job(world, name, tick)
    changes = {"outcome": outcome, "job_id": "", "count": count} if outcome else {}
    line(world, name, tick, **changes)


def record(world: World, name: str, **changes: object) -> None:
    world.view.schedules[name] = replace(world.view.schedules[name], **changes)


def second_job(world: World, name: str, ticks: list[int]) -> None:
    other = world.add()
    world.view.jobs[other].metadata = {"schedule.name": name, "schedule.tick": str(ticks[0])}


def twice_in_history(world: World, name: str, ticks: list[int]) -> None:
    world.view.runs[name].insert(0, world.view.runs[name][-1])


def vanished(world: World, name: str, ticks: list[int]) -> None:
    del world.view.schedules[name]
    world.view.names.clear()
    world.view.runs.clear()


def unknown(world: World, name: str, ticks: list[int]) -> None:
    world.view.schedules["other"] = world.view.schedules[name]
    world.view.names["schedule_names"].add("other")


def test_a_world_in_which_each_tick_has_a_job() -> None:
    world, _ = peaceful()
    assert found(world) == []
    assert len(world.view.jobs) == TICKS


@pytest.mark.parametrize(
    ("message", "spoil"),
    [
        ("has 2 jobs", second_job),
        ("was fired 2 times", twice_in_history),
        ("which is not in the store", lambda world, name, ticks: remove_job(world, name, ticks[2])),
        ("which is not the id of its job", lambda world, name, ticks: line(world, name, ticks[2], job_id=ids.new_id())),
        ("and its history does not say so", lambda world, name, ticks: line(world, name, ticks[2])),
        ("was skipped, and has the job", lambda world, name, ticks: line(world, name, ticks[2], outcome="skipped")),
        ("only 2 ticks behind it were caught up", lambda world, name, ticks: leave_out(world, name, ticks[2])),
        ("only 0 ticks behind it were", lambda world, name, ticks: leave_out(world, name, ticks[-1], "skipped")),
        ("and was not decided", lambda world, name, ticks: record(world, name, last_tick_ms=ticks[-2])),
        ("was due when the load ended", lambda world, name, ticks: record(world, name, due_ms=ticks[-1])),
        ("were due, ", lambda world, name, ticks: record(world, name, last_tick_ms=ticks[-3])),
        ("was before the put, and was fired", lambda world, name, ticks: world.tick(name, ticks[0] - 1000)),
        ("ticks has [], and should have ['s']", lambda world, name, ticks: record(world, name, pause="")),
        ("waiting_ticks has ['s']", lambda world, name, ticks: world.view.names.update(waiting_ticks={name})),
        ("the history of ['gone'] has no schedule", lambda world, name, ticks: world.view.runs.update(gone=[])),
        ("was put and is not in the store", vanished),
        ("the schedule other is in the store, and nobody put it", unknown),
    ],
)
def test_what_is_wrong_with_ticks_is_noticed(message: str, spoil: Spoil) -> None:
    world, ticks = peaceful()
    spoil(world, "s", ticks)
    assert any(message in text for text in found(world) if text.startswith("15:")), found(world)


def test_a_job_that_only_looks_like_one_of_a_schedule_is_an_unknown_one() -> None:
    world, _ = peaceful()
    world.events = [replace(e, uid="v") if isinstance(e, Scheduled) else e for e in world.events]
    assert sum(text.startswith("10:") for text in found(world)) == 2 * TICKS, "in the store, and in the ledger"


def test_a_load_that_ends_before_the_first_tick_needs_none() -> None:
    world, ticks = peaceful(ticks=1)
    leave_out(world, "s", ticks[0])
    record(world, "s", last_tick_ms=-1, next_ms=ticks[0], due_ms=ticks[0])
    world.events = [replace(e, until_ms=ticks[0] - 1) if isinstance(e, Unscheduled) else e for e in world.events]
    assert found(world) == []


@pytest.mark.parametrize("outcome", ["skipped", "refused", "too_many_queues"])
def test_a_tick_without_a_job_is_in_the_history(outcome: str) -> None:
    world, ticks = peaceful("skip", "last")
    leave_out(world, "s", ticks[2], outcome)
    assert found(world) == []
    line(world, "s", ticks[2])
    assert found(world) == [f"15: s: the tick {ticks[2]} has no job, and the history does not say why"]


def test_missed_ticks_are_counted() -> None:
    world, ticks = peaceful("skip", "last")
    leave_out(world, "s", ticks[1], "missed", count=2)
    leave_out(world, "s", ticks[2])
    assert found(world) == []
    line(world, "s", ticks[1], count=1)
    assert found(world) == [f"15: s: the tick {ticks[2]} has no job, and the history does not say why"]


def test_missed_ticks_are_counted_up_to_a_hundred() -> None:
    world, ticks = peaceful("skip", "last", ticks=CAUGHT_UP + 20)
    for tick in ticks[2:-2]:
        leave_out(world, "s", tick)
    assert found(world) == [
        f"15: s: the tick {tick} has no job, and the history does not say why" for tick in ticks[2:-2]
    ]
    world.view.runs["s"].insert(2, Run(ticks[2], ticks[-2], "tick", "missed", "", CAUGHT_UP))
    assert found(world) == []


def test_the_last_hundred_ticks_are_caught_up() -> None:
    world, ticks = peaceful(ticks=CAUGHT_UP + 20)
    for tick in ticks[2:20]:
        leave_out(world, "s", tick)
    assert found(world) == []
    leave_out(world, "s", ticks[20])
    assert found(world) == [f"15: s: the tick {ticks[20]} has no job, and only 99 ticks behind it were caught up"]


@pytest.mark.parametrize("catch_up", ["all", "last"])
def test_what_is_cut_off_the_history_is_not_held_against_it(catch_up: str) -> None:
    world, _ = peaceful("allow", catch_up, ticks=RUNS_KEPT + 5)
    del world.view.runs["s"][RUNS_KEPT:]
    assert found(world) == []


def test_a_tick_that_waits_may_be_fired_after_later_ones_were_skipped() -> None:
    world, ticks = peaceful("skip", "last", ticks=RUNS_KEPT + 5)
    del world.view.runs["s"][RUNS_KEPT:]
    leave_out(world, "s", ticks[-2])
    world.view.runs["s"].append(Run(ticks[4], ticks[4], "tick", "fired", ids.of_tick("s", "u", ticks[4]), 1))
    assert found(world) == [f"15: s: the tick {ticks[-2]} has no job, and the history does not say why"]


@pytest.mark.parametrize("overlap", ["skip", "queue_one"])
def test_a_job_is_made_after_the_end_of_the_one_before(overlap: str) -> None:
    world, ticks = peaceful(overlap, "last")
    job = world.view.jobs[ids.of_tick("s", "u", ticks[2])]
    job.state["f"] = str(ticks[3] + 1)
    assert [text for text in found(world) if "a job was made at" in text] != []
    evidence = world.evidence()
    evidence.clock_moved = True
    assert check(evidence) == []
    job.state["y"] = "replay"
    assert [text for text in found(world) if "a job was made at" in text] == []


def test_the_next_tick_cancels_the_job_before_only_by_its_rule() -> None:
    for overlap, wrong in (("cancel_previous", 0), ("allow", 1)):
        world, ticks = peaceful(overlap)
        world.view.jobs[ids.of_tick("s", "u", ticks[2])].state["s"] = "c"
        assert sum("is cancelled and nobody cancelled it" in text for text in found(world)) == wrong


def test_a_schedule_of_a_store_that_may_forget_need_not_be_there() -> None:
    world, ticks = peaceful()
    vanished(world, "s", ticks)
    for tick in ticks:
        remove_job(world, "s", tick)
    assert found(world) == ["15: the schedule s was put and is not in the store"]
    world.events = forgotten(world.events, 0, NS)
    assert found(world) == []


@pytest.mark.parametrize(
    ("asked", "wrong"), [(-5, []), (0, ["15: s: the tick {tick} was before the put, and was fired"])]
)
def test_a_tick_between_the_request_and_the_put_may_be_fired(asked: int, wrong: list[str]) -> None:
    """The server finds the next tick, and then the store keeps the schedule."""
    world, ticks = peaceful()
    (was,) = (event for event in world.events if isinstance(event, Scheduled))
    request = {"cron": "* * * * * *", **{name: value for name, value in was.request.items() if name != "every"}}
    put = replace(was, request=request, anchor_ms=0, created_ms=ticks[0] + 2, asked_ms=ticks[0] + asked)
    world.events = [put if event is was else event for event in world.events]
    assert found(world) == [text.format(tick=ticks[0]) for text in wrong]

"""Items of batches: one that is lost, in two jobs or not run is noticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from queuey.protocol import ids
from tests.faults.evidence.invariants import check
from tests.faults.evidence.ledger import Answered, Sent
from tests.faults.evidence.world import T0, World

JOB, OTHER = ids.new_id(), ids.new_id()
ITEMS = [ids.new_id() for _ in range(2)]


def send(world: World, item: str, call: int, **answer: str) -> None:
    request = {"id": item, "type": "items", "batch": {"key": "b"}}
    fields = {"outcome": "ok", "code": "200", "said": JOB, **answer}
    world.events += [Sent(call, call, "enqueue", item, request), Answered(call, call, "enqueue", job=item, **fields)]  # type: ignore[arg-type]


def peaceful() -> World:
    """Two items were acknowledged, and their job has succeeded."""
    world = World()
    for call, item in enumerate(ITEMS, 1):
        send(world, item, call)
    add_job(world, JOB, ITEMS)
    return world


def add_job(world: World, job_id: str, items: list[str]) -> None:
    world._store(job_id, T0, "succeeded", "")
    world.view.jobs[job_id].items = list(items)
    world.view.jobs[job_id].result = {"token": "1.a", "items": list(items)}


def found(world: World) -> list[str]:
    return [f"{number}: {message}" for number, message in check(world.evidence())]


def test_a_world_in_which_both_items_have_run() -> None:
    world = peaceful()
    world.view.dedupe["i:x"] = (JOB, 1000)
    assert found(world) == []


@pytest.mark.parametrize(
    ("message", "spoil"),
    [
        (
            f"{ITEMS[1]} was acknowledged as one of {JOB}, and is in []",
            lambda world: world.view.jobs[JOB].items.remove(ITEMS[1]),
        ),
        (f"succeeded with the items ['{ITEMS[0]}']", lambda world: world.view.jobs[JOB].result["items"].pop()),
        (f"{ITEMS[0]} is in several jobs", lambda world: add_job(world, OTHER, ITEMS[:1])),
        ("and no client made it", lambda world: world.view.jobs[JOB].items.append(ids.new_id())),
        ("and its calls were refused", lambda world: world.answer(ITEMS[0], outcome="fail", code="429", said="")),
    ],
    ids=["lost", "not run", "twice", "stranger", "refused"],
)
def test_what_is_wrong_with_items_is_noticed(message: str, spoil: Callable[[World], object]) -> None:
    world = peaceful()
    spoil(world)
    assert any(message in text for text in found(world) if text.startswith("8:")), found(world)


def test_an_acknowledged_item_whose_job_is_gone() -> None:
    world = peaceful()
    del world.view.jobs[JOB]
    assert f"1: {JOB} was acknowledged and is not in the store" in found(world)


def test_an_item_of_an_unknown_call_may_be_there_or_not() -> None:
    world = peaceful()
    world.answer(ITEMS[1], outcome="unknown", code="ReadTimeout", said="")
    before = found(world)
    world.view.jobs[JOB].items = ITEMS[:1]
    world.view.jobs[JOB].result = {"token": "1.a", "items": ITEMS[:1]}
    assert found(world) == before

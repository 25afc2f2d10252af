"""Firings, divided among calls of fire."""

from __future__ import annotations

from queuey.protocol.records import NewJob
from queuey.store.broker.calls import MAX_BYTES
from queuey.store.broker.schedules import FIRE_BATCH, Firing, in_calls


def firing(size: int = 0) -> Firing:
    """A firing with a job of about so many bytes, or without one."""
    job = NewJob("0" * 28, "default", "default", "head", "é" * (size // 2)) if size else None
    return Firing("report", "U.1", "tick", 1, 1, 2, 2, "skip", 0, job)


def test_a_call_has_a_bound_of_items() -> None:
    firings = [firing() for _ in range(2 * FIRE_BATCH + 1)]
    calls = list(in_calls(firings))
    assert [len(call) for call in calls] == [FIRE_BATCH, FIRE_BATCH, 1]
    assert [item for call in calls for item in call] == firings
    assert list(in_calls([])) == []


def test_a_call_has_a_bound_of_bytes_and_one_item_at_least() -> None:
    third, whole = firing(MAX_BYTES // 3), firing(2 * MAX_BYTES)
    assert [len(call) for call in in_calls([third] * 5)] == [2, 2, 1], "with what surrounds them, three are too much"
    assert [len(call) for call in in_calls([third, whole, whole, third, third])] == [1, 1, 1, 2]

"""Batches of dead jobs over several shards, of which one fails."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from queuey.errors import Full, OutcomeUnknown, StoreUnavailable
from queuey.services.dlq import actions
from queuey.services.dlq.actions import Batches
from queuey.store.broker.broker import Broker

BROKER = cast(Broker, SimpleNamespace(shards=SimpleNamespace(of_job=lambda job_id: int(job_id[0]))))
"""The first character of a job's id is its shard."""


class Call:
    """Answers `ok` for each job; on the shard `failing` it fails."""

    def __init__(self, failing: int = -1, error: Exception | None = None) -> None:
        self.failing = failing
        self.error = error
        self.calls: list[tuple[int, dict[str, int]]] = []

    async def __call__(self, shard: int, numbers: Mapping[str, int]) -> list[str]:
        self.calls.append((shard, dict(numbers)))
        if shard == self.failing and self.error is not None:
            raise self.error
        return ["taken" if job_id.endswith("x") else "ok" for job_id in numbers]


async def test_a_batch_goes_shard_by_shard_and_numbers_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "MAX_BATCH", 3)
    call = Call()
    batches = Batches(BROKER, 4, call, {"ok"})
    assert [await batches.add(job_id) for job_id in ("0a", "1bx", "0c", "1d", "0e")] == [True, True, True, True, False]
    assert call.calls == [(0, {"0a": 0, "0c": 2}), (1, {"1bx": 1}), (1, {"1d": 3}), (0, {"0e": 4})]
    await batches.flush()
    assert (batches.done, len(call.calls)) == (4, 4)


async def test_a_shard_that_fails_after_another_leaves_the_outcome_unknown() -> None:
    batches = Batches(BROKER, 3, Call(1, StoreUnavailable("away")), {"ok"})
    with pytest.raises(OutcomeUnknown) as caught:
        [await batches.add(job_id) for job_id in ("0a", "1b", "2c")]
    assert (batches.done, caught.value.job_ids) == (1, ("1b",))


async def test_a_shard_that_fails_first_has_changed_nothing() -> None:
    batches = Batches(BROKER, 2, Call(0, StoreUnavailable("away")), {"ok"})
    with pytest.raises(StoreUnavailable):
        [await batches.add(job_id) for job_id in ("0a", "1b")]
    unknown = Batches(BROKER, 1, Call(0, StoreUnavailable("no reply", maybe_done=True)), {"ok"})
    with pytest.raises(OutcomeUnknown):
        await unknown.add("0a")


async def test_a_shard_without_room_keeps_the_count_of_those_before() -> None:
    batches = Batches(BROKER, 2, Call(1, Full("no room")), {"ok"})
    with pytest.raises(Full):
        [await batches.add(job_id) for job_id in ("0a", "1b")]
    assert batches.done == 1

"""enqueue: nothing -> queued or scheduled."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.protocol.records import encode_key
from tests.support.store import HOUR, NOW, SECOND, Rig


async def test_a_new_job_stands_at_the_tail_of_its_lane(rig: Rig) -> None:
    first, second = await rig.add(2)
    (third,) = await rig.add(priority="high", queue="mail", max_attempts=3)
    assert await rig.waiting() == [first, second]
    assert await rig.waiting("mail", "high") == [third]
    assert (await rig.stored(first)).definition == f'r={NOW}\n{{"type":"t"}}'
    assert (await rig.stored(third)).definition == f'r={NOW} q=mail l=high m=3\n{{"type":"t"}}'
    assert (await rig.stored(first)).state == ""
    assert await rig.names() == {
        *(f"job:{job_id}" for job_id in (first, second, third)),
        *("ready:default:default", "ready:mail:high", "wake:default", "wake:mail", "queues", "stats"),
    }
    assert await rig.counters() == {"enqueued": 3}


@pytest.mark.parametrize(
    ("times", "due"),
    [
        ({"delay_ms": 5 * SECOND}, NOW + 5 * SECOND),
        ({"run_at_ms": NOW + HOUR}, NOW + HOUR),
        ({"run_at_ms": NOW + 1, "delay_ms": HOUR}, NOW + 1),
    ],
)
async def test_a_job_that_is_due_later_is_scheduled(rig: Rig, times: dict[str, Any], due: int) -> None:
    (job_id,) = await rig.add(priority="low", **times)
    assert await rig.scores(rig.keys.scheduled("default", "low")) == {job_id: due}
    assert await rig.waiting(priority="low") == []
    stored = await rig.stored(job_id)
    assert stored.definition.startswith(f"r={due} c={NOW} l=low\n")
    assert stored.due_ms == due
    assert await rig.marked(), "an idle replica must hear of the earlier due time"


@pytest.mark.parametrize("times", [{"run_at_ms": NOW}, {"run_at_ms": NOW - HOUR}, {"run_at_ms": 1}, {"delay_ms": 0}])
async def test_a_time_that_has_passed_means_now(rig: Rig, times: dict[str, Any]) -> None:
    (job_id,) = await rig.add(**times)
    assert await rig.waiting() == [job_id]
    assert (await rig.stored(job_id)).definition.startswith(f"r={NOW}\n")


async def test_the_stores_clock_decides_when_no_time_is_given(rig: Rig) -> None:
    seconds, micros = await rig.client.time()
    job = rig.job(delay_ms=HOUR)
    await rig.broker.jobs.enqueue(rig.shard, [job])
    due = (await rig.stored(job.id)).due_ms
    assert 0 <= due - HOUR - (seconds * 1000 + micros // 1000) < 10 * SECOND


# --- sent again, or refused --------------------------------------------------------------------------------------


async def test_a_job_that_is_there_is_answered_new_again(rig: Rig) -> None:
    jobs = [rig.job(), rig.job(key="k"), rig.job(delay_ms=SECOND)]
    assert await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW) == ["new"] * 3
    async with rig.unchanged():
        assert await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW + SECOND) == ["new"] * 3
        assert await rig.broker.jobs.enqueue(rig.shard, jobs, full=True, now=NOW) == ["new"] * 3


async def test_a_job_that_has_finished_is_answered_new_again(rig: Rig) -> None:
    job = rig.job()
    await rig.broker.jobs.enqueue(rig.shard, [job], now=NOW)
    (claimed,) = (await rig.claim()).jobs
    await rig.broker.leases.complete(rig.shard, [(claimed.id, claimed.token, "")], now=NOW)
    async with rig.unchanged():
        assert await rig.broker.jobs.enqueue(rig.shard, [job], now=NOW) == ["new"]


async def test_a_key_that_another_job_holds_is_a_duplicate(rig: Rig) -> None:
    (holder,) = await rig.add(key="file:1")
    async with rig.unchanged(but=[rig.keys.stats]):
        answers = await rig.broker.jobs.enqueue(
            rig.shard, [rig.job(key="file:1", queue="other"), rig.job(key="file:1")]
        )
        assert answers == [f"duplicate {holder}"] * 2
        assert await rig.broker.jobs.enqueue(rig.shard, [rig.job(key="file:1")], full=True) == [f"duplicate {holder}"]
    assert await rig.counters() == {"enqueued": 1, "deduplicated": 3}


async def test_a_full_store_takes_no_new_job(rig: Rig) -> None:
    async with rig.unchanged():
        assert await rig.broker.jobs.enqueue(rig.shard, [rig.job(), rig.job(key="k")], full=True) == ["full"] * 2


async def test_there_are_at_most_256_queues(rig: Rig) -> None:
    names = [f"q{number}" for number in range(256)]
    jobs = [rig.job(queue=name) for name in names]
    assert await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW) == ["new"] * 256
    async with rig.unchanged():
        one_more = [rig.job(queue="q256"), rig.job(queue="q257", key="k")]
        assert await rig.broker.jobs.enqueue(rig.shard, one_more) == ["too_many_queues"] * 2
    assert await rig.broker.jobs.enqueue(rig.shard, [rig.job(queue="q7"), rig.job(queue="q256")]) == [
        "new",
        "too_many_queues",
    ]
    assert await rig.client.scard(rig.keys.queues) == 256


async def test_queues_are_counted_within_a_batch_too(rig: Rig) -> None:
    await rig.add(queue="here-already")
    jobs = [rig.job(queue=f"q{number % 300}") for number in range(512)]
    answers = await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW)
    expected = ["new" if number % 300 < 255 else "too_many_queues" for number in range(512)]
    assert answers == expected
    assert await rig.client.scard(rig.keys.queues) == 256


# --- the same twice in one batch ---------------------------------------------------------------------------------


async def test_an_id_twice_in_a_batch_is_one_job(rig: Rig) -> None:
    job_id = rig.new_id()
    batch = [rig.job(id=job_id, body='{"type":"a"}'), rig.job(id=job_id, body='{"type":"b"}', key="k", delay_ms=1)]
    assert await rig.broker.jobs.enqueue(rig.shard, batch, now=NOW) == ["new", "new"]
    assert await rig.waiting() == [job_id]
    assert (await rig.stored(job_id)).definition.endswith('{"type":"a"}')
    assert await rig.counters() == {"enqueued": 1}
    assert not await rig.client.exists(rig.keys.dedupe(encode_key("k")))


async def test_a_key_twice_in_a_batch_has_one_holder(rig: Rig) -> None:
    batch = [rig.job(key="k"), rig.job(key="k"), rig.job(key="other")]
    answers = await rig.broker.jobs.enqueue(rig.shard, batch, now=NOW)
    assert answers == ["new", f"duplicate {batch[0].id}", "new"]
    assert await rig.waiting() == [batch[0].id, batch[2].id]


async def test_a_batch_keeps_its_order_and_its_outcomes_apart(rig: Rig) -> None:
    (holder,) = await rig.add(key="held")
    jobs = [rig.job(), rig.job(key="held"), rig.job(), rig.job(delay_ms=SECOND), rig.job()]
    answers = await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW)
    assert answers == ["new", f"duplicate {holder}", "new", "new", "new"]
    assert await rig.waiting() == [holder, jobs[0].id, jobs[2].id, jobs[4].id]


async def test_a_batch_of_the_largest_size(rig: Rig) -> None:
    jobs = [rig.job(key=f"k{number}", queue=f"q{number % 3}") for number in range(512)]
    assert await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW) == ["new"] * 512
    assert [await rig.client.llen(rig.keys.ready(f"q{n}", "default")) for n in range(3)] == [171, 171, 170]


# --- dedupe keys -------------------------------------------------------------------------------------------------


async def test_a_key_is_held_for_its_ttl(rig: Rig) -> None:
    await rig.add(key="short", dedupe_ttl_ms=90 * SECOND)
    await rig.add(key="usual")
    for key, ttl in (("short", 90 * SECOND), ("usual", 24 * HOUR)):
        assert ttl - 10 * SECOND < await rig.client.pttl(rig.keys.dedupe(encode_key(key))) <= ttl
    await rig.client.pexpire(rig.keys.dedupe(encode_key("short")), 0)
    await rig.add(key="short")


async def test_a_ttl_of_nothing_aborts_no_batch(rig: Rig) -> None:
    jobs = [rig.job(key="k", dedupe_ttl_ms=0), rig.job()]
    assert await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW) == ["new", "new"]
    assert await rig.waiting() == [job.id for job in jobs]


async def test_a_key_is_global_over_queues_and_survives_success(rig: Rig) -> None:
    ((job_id, token),) = await rig.held(key="k", queue="mail")
    await rig.broker.leases.complete(rig.shard, [(job_id, token, "1")], now=NOW)
    assert await rig.broker.jobs.enqueue(rig.shard, [rig.job(key="k", queue="other")]) == [f"duplicate {job_id}"]


async def test_the_same_id_is_taken_anew_once_its_record_is_gone(rig: Rig) -> None:
    job = rig.job(key="k")
    await rig.broker.jobs.enqueue(rig.shard, [job], now=NOW)
    await rig.client.delete(rig.keys.job(job.id), rig.keys.ready("default", "default"))
    assert await rig.broker.jobs.enqueue(rig.shard, [job], now=NOW) == ["new"]
    assert await rig.waiting() == [job.id]

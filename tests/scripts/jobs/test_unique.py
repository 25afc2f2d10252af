"""Unique jobs: what a request finds, what frees a key, and what follows a running job. docs/unique.md has the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from queuey.protocol.records import DEFAULT_DEDUPE_TTL_MS, NewJob, OnConflict, job_head, parse_fields, to_job
from queuey.store.offers import Offer
from queuey.store.replies import Caps
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig

KEY: Final = "u:a2V5"
REPLACE: Final = OnConflict("replace")


@pytest.fixture(autouse=True)
async def gate(rig: Rig) -> None:
    await rig.client.hset(rig.keys.meta, "features", "aside unique")


def unique(rig: Rig, until: str, on_conflict: OnConflict = REPLACE, payload: str = "1", **fields: Any) -> NewJob:
    head = job_head(dedupe=KEY, until=until, **{name: fields.pop(name) for name in ("queue",) if name in fields})
    job = rig.job(body=f'{{"type":"t","payload":{payload}}}', **fields)
    job.head, job.dedupe, job.unique = head, KEY, on_conflict
    job.dedupe_ttl_ms = DEFAULT_DEDUPE_TTL_MS
    return job


async def send(rig: Rig, *jobs: NewJob, full: bool = False, now: int = NOW) -> list[str]:
    return await rig.broker.jobs.enqueue(rig.shard, jobs, full=full, now=now)


async def holder(rig: Rig) -> str | None:
    found = await rig.client.get(rig.keys.dedupe(KEY))
    return found.decode() if found else None


async def payload(rig: Rig, job_id: str) -> Any:
    return bytes(to_job(job_id, await rig.stored(job_id)).payload).decode()


# --- what frees a key ------------------------------------------------------------------------------------------------


async def start(rig: Rig) -> tuple[str, str]:
    (job,) = (await rig.claim()).jobs
    return job.id, job.token


async def complete(rig: Rig) -> None:
    await rig.broker.leases.complete(rig.shard, [(*await start(rig), "")], now=NOW)


async def complete_second_attempt(rig: Rig) -> None:
    await retry(rig)
    await rig.broker.maintenance.promote(rig.shard, 10, now=NOW)
    await complete(rig)


async def die(rig: Rig) -> None:
    error = '{"attempt":1,"kind":"error","message":"m"}'
    await rig.broker.leases.fail(rig.shard, [(*await start(rig), error, 0, True)], now=NOW)


async def retry(rig: Rig) -> None:
    error = '{"attempt":1,"kind":"error","message":"m"}'
    await rig.broker.leases.fail(rig.shard, [(*await start(rig), error, 0, False)], now=NOW)


async def release(rig: Rig) -> None:
    await rig.broker.leases.release(rig.shard, [await start(rig)], now=NOW)


async def crash(rig: Rig) -> None:
    await start(rig)
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)


async def cancel(rig: Rig) -> None:
    await rig.broker.jobs.cancel(rig.shard, [str(await holder(rig))], now=NOW)


async def cancel_running(rig: Rig) -> None:
    job_id, token = await start(rig)
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    await rig.broker.leases.release(rig.shard, [(job_id, token)], now=NOW)


async def purge(rig: Rig) -> None:
    await rig.broker.queues.purge(rig.shard, "default", queued=True, scheduled=True, limit=10, now=NOW)


async def expire(rig: Rig) -> None:
    assert not (await rig.claim(now=NOW + HOUR)).jobs


async def run_now(rig: Rig) -> None:
    assert await rig.broker.jobs.run_now(rig.shard, "r1", [str(await holder(rig))], now=NOW) == ["ok"]


async def complete_and_delete(rig: Rig) -> None:
    job_id, token = await start(rig)
    await rig.broker.leases.complete(rig.shard, [(job_id, token, "")], now=NOW)
    assert await rig.broker.jobs.delete(rig.shard, [job_id], now=NOW) == ["ok"]


async def complete_and_trim(rig: Rig) -> None:
    await complete(rig)
    trimmed = await rig.broker.maintenance.trim(rig.shard, 10, Caps(0, 0, 0, 0, 0, 0), now=NOW + 2 * HOUR)
    assert trimmed.finished == 1


async def die_and_replay(rig: Rig) -> None:
    job_id, token = await start(rig)
    error = '{"attempt":1,"kind":"error","message":"m"}'
    await rig.broker.leases.fail(rig.shard, [(job_id, token, error, 0, True)], now=NOW)
    assert await rig.broker.dlq.replay(rig.shard, "y1", [job_id], now=NOW) == ["ok"]


Event = Callable[[Rig], Awaitable[object]]
EVENTS: Final[dict[Event, dict[str, bool]]] = {
    run_now: {"": True, "s": True, "f": True},
    start: {"": True, "s": False, "f": True},
    retry: {"": True, "s": False, "f": True},
    release: {"": True, "s": False, "f": True},
    crash: {"": True, "s": False, "f": True},
    complete: {"": True, "s": False, "f": False},
    complete_second_attempt: {"": True, "s": False, "f": False},
    die: {"": False, "s": False, "f": False},
    cancel: {"": False, "s": False, "f": False},
    cancel_running: {"": False, "s": False, "f": False},
    purge: {"": False, "s": False, "f": False},
    expire: {"": False, "s": False, "f": False},
    complete_and_delete: {"": False, "s": False, "f": False},
    complete_and_trim: {"": True, "s": False, "f": False},
    die_and_replay: {"": True, "s": True, "f": True},
}  # fmt: skip
"""Whether the key is held after it, by `U`."""


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("until", ["", "s", "f"])
async def test_what_frees_a_key(rig: Rig, event: Event, until: str) -> None:
    job = unique(rig, until, delay_ms=HOUR if event is run_now else 0)
    if event is expire:
        job.head += " x=1000"
    assert await send(rig, job) == ["new"]
    assert await holder(rig) == job.id
    await event(rig)
    assert await holder(rig) == (job.id if EVENTS[event][until] else None)


@pytest.mark.parametrize("until", ["s", "f"])
async def test_a_claim_by_type_frees_a_key_as_any_other(rig: Rig, until: str) -> None:
    await send(rig, unique(rig, until))
    (job,) = (await rig.claim_typed()).jobs
    assert await holder(rig) == (None if until == "s" else job.id)


async def test_a_job_frees_no_key_that_another_job_holds(rig: Rig) -> None:
    await send(rig, unique(rig, "f"))
    await rig.client.set(rig.keys.dedupe(KEY), "another")
    await complete(rig)
    assert await holder(rig) == "another"


async def test_an_offer_does_not_claim_a_unique_job(rig: Rig) -> None:
    offer = Offer(claim_id="c1", worker="w1", lease_ms=LEASE, limit=10, queues=["default"])
    await rig.client.sadd(rig.keys.queues, "default")
    assert await rig.broker.jobs.enqueue(rig.shard, [unique(rig, "f")], offer=offer, now=NOW) == ["new"]
    assert offer.claimed is None
    assert len(await rig.waiting()) == 1


# --- conflicts -------------------------------------------------------------------------------------------------------


async def test_a_request_finds_the_holder_is_rejected_or_replaces_it(rig: Rig) -> None:
    first = unique(rig, "f")
    assert await send(rig, first) == ["new"]
    assert await send(rig, unique(rig, "f", OnConflict("return"))) == [f"duplicate {first.id}"]
    assert await send(rig, unique(rig, "f", OnConflict("reject"))) == [f"rejected {first.id}"]
    assert await payload(rig, first.id) == "1"
    assert await send(rig, unique(rig, "f", payload="2")) == [f"replaced {first.id}"]
    assert await payload(rig, first.id) == "2"
    assert await rig.waiting() == [first.id]
    assert await rig.counters() == {"enqueued": 1, "deduplicated": 3}


async def test_a_dedupe_key_of_the_same_text_is_another_key(rig: Rig) -> None:
    await rig.add(key="key")
    assert await send(rig, unique(rig, "f")) == ["new"]


async def test_until_the_feature_is_open_nothing_is_written(rig: Rig) -> None:
    await rig.client.hset(rig.keys.meta, "features", "aside")
    before = await rig.names()
    assert await send(rig, unique(rig, "f")) == ["closed"]
    assert await rig.names() == before


@pytest.mark.parametrize("field", ["type", "queue", "priority", "until"])
async def test_only_a_job_of_the_same_kind_is_replaced(rig: Rig, field: str) -> None:
    first = unique(rig, "f")
    await send(rig, first)
    other = unique(rig, "s" if field == "until" else "f", payload="2")
    if field == "type":
        other.body = '{"type":"u","payload":2}'
    elif field == "queue":
        other.queue, other.head = "mail", f"q=mail {other.head}"
    elif field == "priority":
        other.priority, other.head = "high", f"l=high {other.head}"
    assert await send(rig, other) == [f"differs {first.id}"]
    assert await payload(rig, first.id) == "1"


async def test_two_of_one_call_find_each_other(rig: Rig) -> None:
    first, second, third = unique(rig, "f"), unique(rig, "f", payload="2"), unique(rig, "f", payload="3")
    assert await send(rig, first, second, third) == ["new", f"replaced {first.id}", f"replaced {first.id}"]
    assert await payload(rig, first.id) == "3"


async def test_a_replacement_that_is_sent_again_changes_nothing(rig: Rig) -> None:
    first, second, third = unique(rig, "f"), unique(rig, "f", payload="2"), unique(rig, "f", payload="3")
    await send(rig, first)
    await send(rig, second)
    await send(rig, third)
    assert await send(rig, second) == [f"replaced {first.id}"]
    assert await payload(rig, first.id) == "3"
    await complete(rig)
    assert await send(rig, second) == [f"replaced {first.id}"]
    assert await rig.waiting() == []
    assert 0 < await rig.client.pttl(rig.keys.dedupe(f"r:{second.id}")) <= 300_000


async def test_a_replaced_job_loses_its_checkpoint_and_counts_its_bytes(rig: Rig) -> None:
    first = unique(rig, "f")
    await send(rig, first)
    job_id, token = await start(rig)
    await rig.broker.leases.checkpoint(rig.shard, [(job_id, token, '{"at":5}')], now=NOW)
    await rig.broker.leases.release(rig.shard, [(job_id, token)], now=NOW)
    assert await send(rig, unique(rig, "f", payload='"longer than before"')) == [f"replaced {first.id}"]
    stored = await rig.stored(first.id)
    assert to_job(first.id, stored).checkpoint is None
    assert int(parse_fields(stored.state)["j"]) == len(stored.definition)


# --- what follows a running job --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [complete, die, cancel_running], ids=lambda end: end.__name__)
async def test_each_end_of_a_running_job_enqueues_the_last_one_once(rig: Rig, end: Event) -> None:
    first = unique(rig, "f")
    await send(rig, first)
    job_id, token = await start(rig)
    second, third = unique(rig, "f", payload="2"), unique(rig, "f", payload="3", delay_ms=5 * SECOND)
    assert await send(rig, second, third) == [f"follows {first.id}"] * 2
    await rig.broker.leases.release(rig.shard, [(job_id, token)], now=NOW)
    assert await rig.waiting() == [first.id], "a release is no end"
    await end(rig)
    assert await rig.scores(rig.keys.scheduled("default", "default")) == {third.id: NOW + 5 * SECOND}
    assert await payload(rig, third.id) == "3"
    assert await holder(rig) == third.id
    assert 0 < await rig.client.pttl(rig.keys.dedupe(KEY)) <= DEFAULT_DEDUPE_TTL_MS
    assert await send(rig, third) == ["new"]
    assert (await rig.counters())["enqueued"] == 2
    assert not await rig.client.exists(rig.keys.dedupe(f"a:{first.id}"))


async def test_a_job_that_waits_again_is_replaced_and_no_older_one_follows_it(rig: Rig) -> None:
    first = unique(rig, "f")
    await send(rig, first)
    held = await start(rig)
    assert await send(rig, unique(rig, "f", payload="2")) == [f"follows {first.id}"]
    await rig.broker.leases.release(rig.shard, [held], now=NOW)
    assert await send(rig, unique(rig, "f", payload="3")) == [f"replaced {first.id}"]
    assert await payload(rig, first.id) == "3"
    await complete(rig)
    assert await rig.waiting() == []
    assert await holder(rig) is None


async def test_a_crash_is_no_end(rig: Rig) -> None:
    first = unique(rig, "f")
    await send(rig, first)
    await start(rig)
    await send(rig, unique(rig, "f", payload="2"))
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)
    assert await rig.scores(rig.keys.scheduled("default", "default")) == {first.id: NOW + LEASE}
    assert await holder(rig) == first.id


async def test_a_job_follows_without_the_key_if_another_one_holds_it(rig: Rig) -> None:
    await send(rig, unique(rig, "f"))
    job_id, token = await start(rig)
    second, third = unique(rig, "f", payload="2"), unique(rig, "f", payload="3")
    await send(rig, second)
    await rig.client.delete(rig.keys.dedupe(KEY))
    assert await send(rig, third) == ["new"]
    await rig.broker.leases.complete(rig.shard, [(job_id, token, "")], now=NOW)
    assert await rig.waiting() == [third.id, second.id]
    assert await holder(rig) == third.id


@pytest.mark.parametrize("is_first", [True, False])
async def test_jobs_that_end_in_one_call_leave_the_key_as_one_after_another(rig: Rig, is_first: bool) -> None:
    """Both had the key, since it lapsed. The one that has it now frees it, and then the other one ends."""
    await send(rig, unique(rig, "f"))
    before = await start(rig)
    second, third = unique(rig, "f", payload="2"), unique(rig, "f", payload="3")
    await send(rig, second)
    await rig.client.delete(rig.keys.dedupe(KEY))
    await send(rig, third)
    holds = await start(rig)
    both = [(*before, ""), (*holds, "")] if is_first else [(*holds, ""), (*before, "")]
    await rig.broker.leases.complete(rig.shard, both, now=NOW)
    assert await rig.waiting() == [second.id]
    assert await holder(rig) == (None if is_first else second.id)


async def test_of_two_that_follow_in_one_call_the_first_has_the_key(rig: Rig) -> None:
    held, following = [], []
    for _ in range(2):
        await send(rig, unique(rig, "f"))
        held.append(await start(rig))
        following.append(unique(rig, "f"))
        await send(rig, following[-1])
        await rig.client.delete(rig.keys.dedupe(KEY))
    await rig.broker.leases.complete(rig.shard, [(*each, "") for each in held], now=NOW)
    assert await rig.waiting() == [each.id for each in following]
    assert await holder(rig) == following[0].id


async def test_a_job_that_was_enqueued_meanwhile_does_not_follow_again(rig: Rig) -> None:
    await send(rig, unique(rig, "f"))
    held = await start(rig)
    second = unique(rig, "f", payload="2")
    await send(rig, second)
    plain = rig.job()
    plain.id = second.id
    assert await send(rig, plain) == ["new"]
    await rig.broker.leases.complete(rig.shard, [(*held, "")], now=NOW)
    assert await rig.waiting() == [second.id]


async def test_a_full_store_takes_no_replacement_and_enqueues_what_it_took(rig: Rig) -> None:
    first, second = unique(rig, "f"), unique(rig, "f", payload="2")
    await send(rig, first)
    assert await send(rig, second, full=True) == ["full"]
    job_id, token = await start(rig)
    assert await send(rig, second, full=True) == ["full"]
    assert await send(rig, second) == [f"follows {first.id}"]
    await rig.broker.leases.complete(rig.shard, [(job_id, token, "")], now=NOW)
    assert await rig.waiting() == [second.id]


# --- debounce --------------------------------------------------------------------------------------------------------


async def test_each_request_puts_a_debounced_job_off_up_to_its_maximum(rig: Rig) -> None:
    wait = OnConflict("replace", 10 * SECOND, 25 * SECOND)

    async def request(number: int, seconds: int) -> list[str]:
        job = unique(rig, "s", wait, payload=str(number), delay_ms=10 * SECOND)
        return await send(rig, job, now=NOW + seconds * SECOND)

    async def due() -> dict[str, int]:
        scores = await rig.scores(rig.keys.scheduled("default", "default"))
        return {job_id: (int(score) - NOW) // SECOND for job_id, score in scores.items()}

    assert await request(1, 0) == ["new"]
    (job_id,) = await due()
    assert await due() == {job_id: 10}
    assert await request(2, 8) == [f"replaced {job_id}"]
    assert await due() == {job_id: 18}
    assert await request(3, 17) == [f"replaced {job_id}"]
    assert await due() == {job_id: 25}
    stored = await rig.stored(job_id)
    assert stored.definition.startswith(f"r={NOW + 25 * SECOND} c={NOW} ")
    assert await payload(rig, job_id) == "3"
    (job,) = (await rig.claim(now=NOW + 25 * SECOND)).jobs
    assert job.id == job_id
    assert await request(4, 26) == ["new"]


async def test_a_job_that_is_due_earlier_wakes_an_idle_replica(rig: Rig) -> None:
    first = unique(rig, "s", OnConflict("replace", HOUR, HOUR), delay_ms=HOUR)
    await send(rig, first)
    await rig.client.zpopmin(rig.keys.wake("default"))
    sooner = unique(rig, "s", OnConflict("replace", SECOND, HOUR), delay_ms=SECOND)
    assert await send(rig, sooner) == [f"replaced {first.id}"]
    assert await rig.marked()
    assert await rig.scores(rig.keys.scheduled("default", "default")) == {first.id: NOW + SECOND}

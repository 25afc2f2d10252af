"""restore: jobs and dedupe keys that dump told of, in their places in another store."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.errors import Full
from queuey.protocol.records import encode_key, job_head, parse_fields, to_job
from queuey.store.broker.calls import LOG_TTL_MS
from queuey.store.replies import DumpedJob, HeldKey
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig

DAY = 24 * HOUR


async def move(rig: Rig, *ids: str, now: int = NOW) -> list[DumpedJob]:
    """Dump, empty the store, restore. Returns what was dumped."""
    jobs = (await rig.broker.transfer.dump(rig.shard, ids, now=NOW)).jobs
    assert [job.id for job in jobs] == list(ids)
    await rig.client.flushall()
    assert await rig.broker.transfer.restore(rig.shard, jobs, now=now) == (["ok"] * len(ids), [])
    return jobs


async def until_promoted(rig: Rig, now: int = NOW) -> None:
    while (await rig.broker.maintenance.promote(rig.shard, 2, now=now)).count:
        pass


async def test_ready_jobs_are_claimed_in_order_of_their_time(rig: Rig) -> None:
    second, first = (await rig.add(now=NOW + 1))[0], (await rig.add(now=NOW))[0]
    jobs = await move(rig, second, first)
    (low,) = await rig.add(now=NOW - 1)
    await until_promoted(rig)
    assert await rig.waiting() == [low, first, second], "behind what was there, in their own order"
    assert [(job.id, job.definition) for job in (await rig.claim(3)).jobs[1:]] == [
        (job.id, job.definition) for job in reversed(jobs)
    ]
    assert await rig.marked()


async def test_a_ready_job_is_queued_before_it_is_promoted(rig: Rig) -> None:
    (job_id,) = await rig.add(priority="low", queue="mail")
    await move(rig, job_id)
    assert to_job(job_id, await rig.stored(job_id)).status == "queued"
    assert (await rig.broker.transfer.dump(rig.shard, [job_id], now=NOW)).jobs[0].place == "ready"
    (job,) = (await rig.claim(queues=["mail"])).jobs
    assert job.id == job_id


async def test_a_scheduled_job_keeps_its_time(rig: Rig) -> None:
    (job_id,) = await rig.add(delay_ms=HOUR)
    await move(rig, job_id)
    assert (await rig.claim(now=NOW + HOUR - 1)).due_in_ms == 1
    assert [job.id for job in (await rig.claim(now=NOW + HOUR)).jobs] == [job_id]


async def test_a_retry_keeps_attempts_and_errors(rig: Rig) -> None:
    (held,) = await rig.held()
    await rig.broker.leases.fail(rig.shard, [(*held, '{"n":1}', HOUR, False)], now=NOW)
    (dumped,) = await move(rig, held[0])
    assert (await rig.stored(held[0])).state == dumped.state
    (job,) = (await rig.claim(now=NOW + HOUR)).jobs
    assert (job.attempt, job.token.split(".")[0]) == (2, "2")


async def test_a_running_job_is_queued_and_its_token_refused(rig: Rig) -> None:
    (held,) = await rig.held(key="k", priority="high")
    await move(rig, held[0])
    async with rig.unchanged():
        assert await rig.broker.leases.complete(rig.shard, [(*held, "")], now=NOW) == ["lost"]
        assert await rig.broker.leases.fail(rig.shard, [(*held, "{}", 0, False)], now=NOW) == ["lost"]
        assert await rig.broker.leases.extend(rig.shard, LEASE, [held], now=NOW) == ["lost"]
    state = await rig.state(held[0])
    assert (state["s"], state["n"], state["p"], state["o"], "h" in state) == ("w", "1", held[1], "l", False)
    assert await rig.scores(rig.keys.leases("default")) == {}
    (job,) = (await rig.claim()).jobs
    assert (job.id, job.attempt, job.crashes, job.token.split(".")[0]) == (held[0], 1, 0, "2")


async def test_a_running_job_that_was_flagged_is_cancelled(rig: Rig) -> None:
    (held,) = await rig.held(key="k")
    await rig.broker.jobs.cancel(rig.shard, [held[0]], now=NOW)
    jobs = (await rig.broker.transfer.dump(rig.shard, [held[0]], now=NOW)).jobs
    await rig.client.flushall()
    key = HeldKey(encode_key("k"), held[0], NOW + HOUR)
    assert await rig.broker.transfer.restore(rig.shard, [], [key], now=NOW) == ([], ["ok"])
    assert await rig.broker.transfer.restore(rig.shard, jobs, now=NOW + SECOND) == (["ok"], [])
    assert to_job(held[0], await rig.stored(held[0])).status == "cancelled"
    assert await rig.client.exists(rig.keys.dedupe(key.key)) == 0
    row = await rig.row()
    assert (row["finished"], row["running"], row["scheduled"]) == (1, 0, 0)
    assert row["finished_bytes"] == await size(rig, held[0])


async def size(rig: Rig, *ids: str) -> int:
    return sum(len(stored.definition) + len(stored.state) for stored in await rig.broker.jobs.get(rig.shard, ids))


async def test_dead_and_finished_jobs_keep_their_time_and_are_counted(rig: Rig) -> None:
    dead, done = await rig.held(2, queue="mail")
    await rig.broker.leases.fail(rig.shard, [(*dead, '{"n":1}', 0, True)], now=NOW)
    await rig.broker.leases.complete(rig.shard, [(*done, '"r"')], now=NOW + 1)
    before = await rig.row("mail")
    await move(rig, dead[0], done[0])
    after = await rig.row("mail")
    assert after == before
    assert (after["dead_bytes"], after["finished_bytes"]) == (await size(rig, dead[0]), await size(rig, done[0]))
    assert await rig.scores(rig.keys.dead("mail")) == {dead[0]: NOW}
    assert await rig.scores(rig.keys.done("mail")) == {done[0]: NOW + 1 + HOUR}
    assert await rig.broker.dlq.replay(rig.shard, "r1", [dead[0]], now=NOW) == ["ok"]
    assert (await rig.row("mail"))["dead_bytes"] == 0


async def test_the_same_again_changes_nothing(rig: Rig) -> None:
    (running, dead) = await rig.held(2)
    await rig.broker.leases.fail(rig.shard, [(*dead, "{}", 0, True)], now=NOW)
    (ready,) = await rig.add(key="k")
    jobs = await move(rig, running[0], dead[0], ready)
    keys = [HeldKey(encode_key("k"), ready, NOW + HOUR)]
    assert await rig.broker.transfer.restore(rig.shard, [], keys, now=NOW) == ([], ["ok"])
    async with rig.unchanged():
        assert await rig.broker.transfer.restore(rig.shard, jobs, keys, now=NOW) == (["there"] * 3, ["there"])


async def test_what_has_moved_on_is_left_alone(rig: Rig) -> None:
    (job_id,) = await rig.add()
    jobs = await move(rig, job_id)
    (job,) = (await rig.claim()).jobs
    await rig.broker.leases.complete(rig.shard, [(job.id, job.token, "")], now=NOW)
    async with rig.unchanged():
        assert await rig.broker.transfer.restore(rig.shard, jobs, now=NOW) == (["there"], [])


async def test_one_job_twice_in_a_call(rig: Rig) -> None:
    (held,) = await rig.held()
    await rig.broker.leases.complete(rig.shard, [(*held, "")], now=NOW)
    jobs = (await rig.broker.transfer.dump(rig.shard, [held[0]], now=NOW)).jobs * 2
    await rig.client.flushall()
    assert await rig.broker.transfer.restore(rig.shard, jobs, now=NOW) == (["ok", "there"], [])
    assert (await rig.row())["finished_bytes"] == await size(rig, held[0])


async def test_letters_of_a_later_version_are_kept(rig: Rig) -> None:
    (held,) = await rig.held(extra="A=later")
    (job,) = (await rig.broker.transfer.dump(rig.shard, [held[0]], now=NOW)).jobs
    job.state = job.state.replace("s=r", "s=r B=later", 1)
    await rig.client.flushall()
    await rig.broker.transfer.restore(rig.shard, [job], now=NOW)
    stored = await rig.stored(held[0])
    assert parse_fields(stored.definition)["A"] == "later"
    assert parse_fields(stored.state)["B"] == "later"


async def test_no_more_queues_than_there_may_be(rig: Rig) -> None:
    (known,) = await rig.add(queue="known")
    (other,) = await rig.add(queue="other")
    jobs = (await rig.broker.transfer.dump(rig.shard, [known, other], now=NOW)).jobs
    await rig.client.flushall()
    await rig.client.sadd(rig.keys.queues, "known", *(f"q{number}" for number in range(255)))
    assert await rig.broker.transfer.restore(rig.shard, jobs, now=NOW) == (["ok", "too_many_queues"], [])
    assert not (await rig.stored(other)).definition
    assert await rig.client.scard(rig.keys.queues) == 256


# --- dedupe keys -------------------------------------------------------------------------------------------------


async def held_key(rig: Rig, **fields: Any) -> tuple[str, HeldKey]:
    (job_id,) = await rig.add(key="k", **fields)
    return job_id, HeldKey(encode_key("k"), job_id, NOW + DAY)


async def test_a_key_holds_its_job_until_its_time_also_without_a_record(rig: Rig) -> None:
    job_id, key = await held_key(rig)
    await rig.client.flushall()
    assert await rig.broker.transfer.restore(rig.shard, [], [key], now=NOW + DAY - 90 * SECOND) == ([], ["ok"])
    name = rig.keys.dedupe(key.key)
    assert await rig.client.get(name) == job_id.encode()
    assert 80 * SECOND < await rig.client.pttl(name) <= 90 * SECOND
    assert await rig.broker.jobs.enqueue(rig.shard, [rig.job(key="k")], now=NOW) == [f"duplicate {job_id}"]


async def test_a_key_whose_time_is_up_stays_free(rig: Rig) -> None:
    _, key = await held_key(rig)
    await rig.client.flushall()
    async with rig.unchanged():
        assert await rig.broker.transfer.restore(rig.shard, [], [key], now=NOW + DAY) == ([], ["past"])


async def test_a_key_that_is_held_stays_held(rig: Rig) -> None:
    job_id, key = await held_key(rig)
    await rig.client.flushall()
    (other,) = await rig.add(key="k")
    assert await rig.broker.transfer.restore(rig.shard, [], [key], now=NOW) == ([], ["there"])
    assert await rig.client.get(rig.keys.dedupe(key.key)) == other.encode()
    assert job_id != other


async def test_a_dead_job_gives_its_key_back_and_does_not_get_it_again(rig: Rig) -> None:
    """In a dump of a store at work the key may have been seen before its job died."""
    ((job_id, token),) = await rig.held(key="k")
    await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", 0, True)], now=NOW)
    jobs = (await rig.broker.transfer.dump(rig.shard, [job_id], now=NOW)).jobs
    key = HeldKey(encode_key("k"), job_id, NOW + HOUR)
    await rig.client.flushall()
    assert await rig.broker.transfer.restore(rig.shard, [], [key], now=NOW) == ([], ["ok"])
    assert await rig.broker.transfer.restore(rig.shard, jobs, now=NOW) == (["ok"], [])
    assert await rig.client.exists(rig.keys.dedupe(key.key)) == 0
    assert await rig.broker.transfer.restore(rig.shard, [], [key], now=NOW) == ([], ["past"])
    await rig.client.flushall()
    assert await rig.broker.transfer.restore(rig.shard, jobs, [key], now=NOW) == (["ok"], ["past"]), "also in one call"


@pytest.mark.parametrize("until", ["s", "f"])
async def test_a_unique_job_that_has_succeeded_gives_its_key_back(rig: Rig, until: str) -> None:
    """As above: else the key would be held for its TTL, and requests would find a job that has ended."""
    job = rig.job(key="k")
    job.head, job.dedupe = job_head(dedupe="u:a2V5", until=until), "u:a2V5"
    assert await rig.broker.jobs.enqueue(rig.shard, [job], now=NOW) == ["new"]
    (claimed,) = (await rig.claim()).jobs
    await rig.broker.leases.complete(rig.shard, [(job.id, claimed.token, "")], now=NOW)
    jobs = (await rig.broker.transfer.dump(rig.shard, [job.id], now=NOW)).jobs
    key = HeldKey("u:a2V5", job.id, NOW + HOUR)
    await rig.client.flushall()
    assert await rig.broker.transfer.restore(rig.shard, [], [key], now=NOW) == ([], ["ok"])
    assert await rig.broker.transfer.restore(rig.shard, jobs, now=NOW) == (["ok"], [])
    assert await rig.client.exists(rig.keys.dedupe(key.key)) == 0
    await rig.client.flushall()
    assert await rig.broker.transfer.restore(rig.shard, jobs, [key], now=NOW) == (["ok"], ["past"]), "also in one call"


async def test_an_idempotency_key_stays_when_its_job_has_died(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", 0, True)], now=NOW)
    jobs = (await rig.broker.transfer.dump(rig.shard, [job_id], now=NOW)).jobs
    key = HeldKey("i:digest", job_id, NOW + HOUR)
    await rig.client.flushall()
    assert await rig.broker.transfer.restore(rig.shard, jobs, [key], now=NOW) == (["ok"], ["ok"])
    assert await rig.client.get(rig.keys.dedupe("i:digest")) == job_id.encode()
    await rig.client.delete(rig.keys.dedupe("i:digest"))
    assert await rig.broker.transfer.restore(rig.shard, [], [key], now=NOW) == ([], ["ok"])


@pytest.mark.parametrize("dead", [False, True])
async def test_the_lines_that_a_job_has_logged_come_too(rig: Rig, dead: bool) -> None:
    ((job_id, token), (other, _)) = await rig.held(2)
    text = f'1.1 {NOW} info "begun"\n'
    await rig.broker.jobs.keep_log(rig.shard, [(job_id, token, text)])
    if dead:
        await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", 0, True)], now=NOW)
    counted = await rig.client.hget(rig.keys.queue("default"), "dead_bytes")
    assert [job.log for job in await move(rig, job_id, other)] == [text, ""]
    assert await rig.broker.jobs.get_log(rig.shard, job_id) == text
    assert 0 < await rig.client.pttl(rig.keys.log(job_id)) <= LOG_TTL_MS
    assert await rig.client.hget(rig.keys.queue("default"), "dead_bytes") == counted


async def test_a_full_store_takes_none(rig: Rig) -> None:
    (job_id,) = await rig.add(key="k")
    jobs = (await rig.broker.transfer.dump(rig.shard, [job_id], now=NOW)).jobs
    await rig.client.flushall()
    before = (await rig.client.config_get("maxmemory"))["maxmemory"]
    await rig.client.config_set("maxmemory", 1)
    try:
        async with rig.unchanged():
            with pytest.raises(Full):
                await rig.broker.transfer.restore(rig.shard, jobs, now=NOW)
    finally:
        await rig.client.config_set("maxmemory", before)


async def test_what_was_set_aside_comes_to_its_lane_in_order_of_its_time(rig: Rig) -> None:
    third, first, second = [(await rig.add(now=NOW + at))[0] for at in (3, 1, 2)]
    await rig.set_aside([third, second], "t")
    await rig.set_aside([first], "*")
    await rig.name_asides(("default", "empty"))
    await move(rig, third, first, second, now=NOW + 9)
    await until_promoted(rig, NOW + 9)
    assert await rig.waiting() == [first, second, third]
    assert await rig.asides() == [], "the names stay behind"

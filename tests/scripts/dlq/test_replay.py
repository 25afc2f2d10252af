"""replay: dead_letter -> queued, a new run."""

from __future__ import annotations

from typing import Any

from queuey.protocol.records import encode_key
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


async def dead(rig: Rig, **fields: Any) -> str:
    (held,) = await rig.held(**fields)
    assert await rig.broker.leases.fail(rig.shard, [(*held, '{"n":1}', 0, True)], now=NOW) == ["dead"]
    return held[0]


async def replay(rig: Rig, *ids: str, replay_id: str = "r1", now: int = NOW + SECOND) -> list[str]:
    return await rig.broker.dlq.replay(rig.shard, replay_id, ids, now=now)


async def test_a_dead_job_is_queued_in_its_own_queue_and_lane(rig: Rig) -> None:
    job_id = await dead(rig, queue="mail", priority="low")
    (waiting,) = await rig.add(queue="mail", priority="low")
    await rig.marked("mail")
    assert await replay(rig, job_id) == ["ok"]
    state = await rig.state(job_id)
    assert {letter: state.get(letter) for letter in "sranxfz"} == {
        **dict.fromkeys("axfz"),
        "s": "w",
        "r": str(NOW + SECOND),
        "n": "1",
    }
    assert (await rig.stored(job_id)).state.split("\n")[1:] == ["", f'{NOW} {{"n":1}}'], "errors are kept"
    assert await rig.waiting("mail", "low") == [waiting, job_id]
    row = await rig.row("mail")
    assert (row["dead"], row["dead_bytes"], row["low"]) == (0, 0, 2)
    assert await rig.marked("mail")
    assert (await rig.counters())["replayed"] == 1


async def test_a_new_run_has_all_its_attempts_and_crashes(rig: Rig) -> None:
    job_id = await rig.crashed(crashes=2, max_attempts=2)
    (job,) = (await rig.claim()).jobs
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)
    await replay(rig, job_id)
    (again,) = (await rig.claim(suspects=0)).jobs
    assert (again.attempt, again.crashes, again.token.split(".")[0]) == (1, 0, "4")
    assert await rig.broker.leases.fail(rig.shard, [(job_id, again.token, "{}", 0, False)], now=NOW) == ["retry"]
    assert await rig.broker.leases.complete(rig.shard, [(job_id, job.token, "")], now=NOW) == ["lost"]


async def test_the_old_run_cannot_answer_for_the_new_one(rig: Rig) -> None:
    (held,) = await rig.held()
    await rig.broker.leases.fail(rig.shard, [(*held, "{}", 0, True)], now=NOW)
    await replay(rig, held[0])
    async with rig.unchanged():
        assert await rig.broker.leases.complete(rig.shard, [(*held, "")], now=NOW) == ["lost"]
        assert await rig.broker.leases.fail(rig.shard, [(*held, "{}", 0, True)], now=NOW) == ["dead"], "a resend"


async def test_the_same_replay_id_again_is_ok_again(rig: Rig) -> None:
    job_id = await dead(rig, key="k")
    assert await replay(rig, job_id, job_id) == ["ok", "ok"]
    assert await rig.waiting() == [job_id]
    async with rig.unchanged():
        assert await replay(rig, job_id) == ["ok"]
    (job,) = (await rig.claim()).jobs
    await rig.broker.leases.fail(rig.shard, [(job.id, job.token, "{}", 0, True)], now=NOW)
    async with rig.unchanged():
        assert await replay(rig, job_id) == ["ok"], "it was done; it has died again since"
    assert await replay(rig, job_id, replay_id="r2") == ["ok"]


async def test_what_is_not_dead_is_missing(rig: Rig) -> None:
    (waiting,) = await rig.add(queue="a")
    done, running = await rig.held(2)
    await rig.broker.leases.complete(rig.shard, [(*done, "")], now=NOW)
    gone = await dead(rig)
    await rig.client.delete(rig.keys.job(gone))
    async with rig.unchanged():
        answers = await replay(rig, waiting, done[0], running[0], gone, rig.new_id())
    assert answers == ["missing"] * 5


# --- dedupe keys -------------------------------------------------------------------------------------------------


async def test_it_takes_its_dedupe_key_anew(rig: Rig) -> None:
    job_id = await dead(rig, key="k")
    await replay(rig, job_id)
    name = rig.keys.dedupe(encode_key("k"))
    assert await rig.client.get(name) == job_id.encode()
    assert 24 * HOUR - 10 * SECOND < await rig.client.pttl(name) <= 24 * HOUR


async def test_with_its_own_ttl(rig: Rig) -> None:
    job_id = await dead(rig, key="k", dedupe_ttl_ms=90 * SECOND)
    await replay(rig, job_id)
    assert 80 * SECOND < await rig.client.pttl(rig.keys.dedupe(encode_key("k"))) <= 90 * SECOND


async def test_it_stays_dead_while_another_job_holds_its_key(rig: Rig) -> None:
    job_id = await dead(rig, key="k")
    await rig.add(key="k")
    async with rig.unchanged():
        assert await replay(rig, job_id) == ["duplicate"]
    await rig.client.delete(rig.keys.dedupe(encode_key("k")))
    assert await replay(rig, job_id) == ["ok"]


async def test_two_of_one_key_in_one_batch(rig: Rig) -> None:
    first, second = await dead(rig, key="k"), await dead(rig, key="k")
    assert await replay(rig, first, second) == ["ok", "duplicate"]
    assert await rig.waiting() == [first]
    assert await rig.scores(rig.keys.dead("default")) == {second: NOW}


async def test_a_key_that_is_already_its_own_is_kept(rig: Rig) -> None:
    job_id = await dead(rig, key="k")
    await rig.client.set(rig.keys.dedupe(encode_key("k")), job_id)
    assert await replay(rig, job_id) == ["ok"]
    assert await rig.client.pttl(rig.keys.dedupe(encode_key("k"))) > 0


async def test_byte_counters_return_to_zero_over_many_runs(rig: Rig) -> None:
    ids = [await dead(rig, body='{"type":"t","payload":"' + "x" * size + '"}') for size in (1, 500, 90_000)]
    await replay(rig, *ids)
    held = [(job.id, job.token) for job in (await rig.claim(5)).jobs]
    await rig.broker.leases.fail(rig.shard, [(*one, '{"n":2}', 0, True) for one in held], now=NOW)
    assert (await rig.row())["dead_bytes"] == sum(
        [len(stored.definition) + len(stored.state) for stored in await rig.broker.jobs.get(rig.shard, ids)]
    )
    await replay(rig, *ids, replay_id="r2")
    assert (await rig.row())["dead_bytes"] == 0


async def test_with_a_delay_it_is_scheduled(rig: Rig) -> None:
    later, now_ = await dead(rig), await dead(rig)
    async with rig.unchanged():
        assert await rig.broker.dlq.replay(rig.shard, "r1", ["nobody"], [5], now=NOW) == ["missing"]
    assert await rig.broker.dlq.replay(rig.shard, "r1", [later, now_], [5 * SECOND, 0], now=NOW) == ["ok", "ok"]
    assert await rig.scores(rig.keys.scheduled("default", "default")) == {later: NOW + 5 * SECOND}
    assert await rig.waiting() == [now_]
    assert (await rig.state(later))["r"] == str(NOW + 5 * SECOND)
    async with rig.unchanged():
        assert await rig.broker.dlq.replay(rig.shard, "r1", [later], [9], now=NOW) == ["ok"], "a resend"


async def test_it_goes_to_the_lane_though_its_type_has_a_list(rig: Rig) -> None:
    """The next claim that meets it in the lane puts it behind those of its type."""
    job_id = await dead(rig)
    (aside,) = await rig.add()
    await rig.set_aside([aside], "t")
    assert await replay(rig, job_id, aside) == ["ok", "missing"]
    assert (await rig.waiting(), await rig.set_aside_list("t")) == ([job_id], [aside])

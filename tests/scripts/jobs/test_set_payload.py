"""set_payload: a dead job gets another definition, beneath the header that it has."""

from __future__ import annotations

from typing import Any

from tests.support.store import NOW, Rig

BODY = '{"type":"t","payload":[1,2,3]}'


async def dead(rig: Rig, **fields: Any) -> str:
    (held,) = await rig.held(**fields)
    assert await rig.broker.leases.fail(rig.shard, [(*held, '{"n":1}', 0, True)], now=NOW) == ["dead"]
    return held[0]


async def test_the_header_and_the_errors_stay(rig: Rig) -> None:
    job_id = await dead(rig, queue="mail", priority="low", max_attempts=3)
    before = await rig.stored(job_id)
    assert await rig.broker.jobs.set_payload(rig.shard, job_id, BODY) == "ok"
    after = await rig.stored(job_id)
    assert after.definition == before.definition.split("\n")[0] + "\n" + BODY
    assert after.state.split("\n")[1:] == before.state.split("\n")[1:]
    assert (await rig.state(job_id)) == {**await rig.state(job_id), "s": "d", "q": "mail", "l": "low", "m": "3"}


async def test_the_bytes_are_kept_account_of(rig: Rig) -> None:
    job_id = await dead(rig)
    for body in (BODY + " " * 5000, BODY):
        await rig.broker.jobs.set_payload(rig.shard, job_id, body)
        stored = await rig.stored(job_id)
        assert int((await rig.state(job_id))["j"]) == len(stored.definition)
        assert (await rig.row())["dead_bytes"] == len(stored.definition) + len(stored.state)
    await rig.broker.jobs.delete(rig.shard, [job_id], now=NOW)
    assert (await rig.row())["dead_bytes"] == 0


async def test_the_next_run_gets_it(rig: Rig) -> None:
    job_id = await dead(rig)
    await rig.broker.jobs.set_payload(rig.shard, job_id, BODY)
    await rig.broker.dlq.replay(rig.shard, "r", [job_id], now=NOW)
    (job,) = (await rig.claim()).jobs
    assert job.definition.split("\n")[1] == BODY


async def test_again_changes_nothing(rig: Rig) -> None:
    job_id = await dead(rig)
    await rig.broker.jobs.set_payload(rig.shard, job_id, BODY)
    before = await rig.stored(job_id)
    assert await rig.broker.jobs.set_payload(rig.shard, job_id, BODY) == "ok"
    assert (await rig.stored(job_id)).definition == before.definition


async def test_one_that_is_not_dead_keeps_what_it_has(rig: Rig) -> None:
    (queued,) = await rig.add()
    ((running, _),) = await rig.held(queue="mail")
    ((done, token),) = await rig.held(queue="web")
    await rig.broker.leases.complete(rig.shard, [(done, token, "")], now=NOW)
    async with rig.unchanged():
        for job_id in (queued, running, done):
            assert await rig.broker.jobs.set_payload(rig.shard, job_id, BODY) == "wrong_state"
        assert await rig.broker.jobs.set_payload(rig.shard, "nobody", BODY) == "missing"

"""fail: running -> scheduled, dead_letter, or cancelled when flagged."""

from __future__ import annotations

import pytest

from queuey.protocol.records import encode_key
from queuey.store.broker.calls import Held
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig

ERROR = '{"attempt":1,"kind":"error","message":"no"}'


async def fail(rig: Rig, held: Held, *, error: str = ERROR, delay: int = 0, dead: bool = False, now: int = NOW) -> str:
    (answer,) = await rig.broker.leases.fail(rig.shard, [(*held, error, delay, dead)], now=now)
    return answer


async def test_a_failed_job_is_scheduled_again(rig: Rig) -> None:
    (held,) = await rig.held(priority="low", queue="mail")
    await rig.marked("mail")
    assert await fail(rig, held, delay=5 * SECOND, now=NOW + SECOND) == "retry"
    stored = await rig.stored(held[0])
    state = await rig.state(held[0])
    assert (state["s"], state["a"], state["p"], state["o"]) == ("w", "1", held[1], "r")
    assert state["r"] == str(NOW + 6 * SECOND)
    assert "f" not in state
    assert "h" not in state
    assert stored.state.split("\n")[1:] == ["", f"{NOW + SECOND} {ERROR}"]
    assert (stored.due_ms, stored.lease_expires_ms) == (NOW + 6 * SECOND, -1)
    assert await rig.scores(rig.keys.scheduled("mail", "low")) == {held[0]: NOW + 6 * SECOND}
    assert await rig.scores(rig.keys.leases("mail")) == {}
    assert await rig.marked("mail"), "the due time is an earlier one"
    assert await rig.counters() == {"enqueued": 1, "claimed": 1, "retried": 1}


@pytest.mark.parametrize(("max_attempts", "dead", "failures"), [(1, False, 1), (3, False, 3), (3, True, 1)])
async def test_the_last_attempt_or_a_dead_one_goes_to_the_dead_letter_queue(
    rig: Rig, max_attempts: int, dead: bool, failures: int
) -> None:
    (held,) = await rig.held(max_attempts=max_attempts)
    for _ in range(failures - 1):
        assert await fail(rig, held) == "retry"
        (job,) = (await rig.claim()).jobs
        held = (job.id, job.token)
    assert await fail(rig, held, dead=dead, now=NOW + SECOND) == "dead"
    stored = await rig.stored(held[0])
    state = await rig.state(held[0])
    assert (state["s"], state["a"], state["f"], state["o"]) == ("d", str(failures), str(NOW + SECOND), "d")
    assert await rig.scores(rig.keys.dead("default")) == {held[0]: NOW + SECOND}
    row = await rig.row()
    assert (row["dead"], row["running"], row["scheduled"], row["default"]) == (1, 0, 0, 0)
    assert row["dead_bytes"] == len(stored.definition) + len(stored.state)
    assert (await rig.counters())["dead"] == 1


async def test_the_default_is_five_attempts(rig: Rig) -> None:
    await rig.add()
    answers = []
    while jobs := (await rig.claim()).jobs:
        answers.append(await fail(rig, (jobs[0].id, jobs[0].token)))
    assert answers == ["retry"] * 4 + ["dead"]


async def test_the_last_ten_errors_are_kept(rig: Rig) -> None:
    (job_id,) = await rig.add(max_attempts=30)
    for number in range(13):
        (job,) = (await rig.claim()).jobs
        await fail(rig, (job_id, job.token), error=f'{{"n":{number}}}')
    assert (await rig.stored(job_id)).state.split("\n")[1:] == ["", *(f'{NOW} {{"n":{n}}}' for n in range(3, 13))]


async def test_a_flagged_job_is_cancelled(rig: Rig) -> None:
    (held,) = await rig.held(key="k", max_attempts=1)
    await rig.broker.jobs.cancel(rig.shard, [held[0]], now=NOW)
    assert await fail(rig, held) == "cancelled"
    state = await rig.state(held[0])
    assert (state["s"], state["o"], state["f"]) == ("c", "c", str(NOW))
    assert "z" not in state
    assert await rig.scores(rig.keys.done("default")) == {held[0]: NOW + HOUR}
    assert not await rig.client.exists(rig.keys.dedupe(encode_key("k")))
    assert (await rig.counters())["cancelled"] == 1


@pytest.mark.parametrize("outcome", ["retry", "dead", "cancelled"])
async def test_the_same_token_again_is_answered_as_before(rig: Rig, outcome: str) -> None:
    (held,) = await rig.held()
    if outcome == "cancelled":
        await rig.broker.jobs.cancel(rig.shard, [held[0]], now=NOW)
    failure = (*held, ERROR, HOUR, outcome == "dead")
    assert await rig.broker.leases.fail(rig.shard, [failure] * 2, now=NOW) == [outcome] * 2
    async with rig.unchanged():
        assert await rig.broker.leases.fail(rig.shard, [failure], now=NOW + SECOND) == [outcome]
    assert (await rig.state(held[0]))["a"] == "1"


async def test_a_resend_is_answered_even_when_the_job_runs_again(rig: Rig) -> None:
    (held,) = await rig.held()
    await fail(rig, held)
    await rig.claim()
    async with rig.unchanged():
        assert await fail(rig, held) == "retry"


async def test_who_does_not_hold_the_lease_is_told_lost(rig: Rig) -> None:
    done, released, running, reaped = await rig.held(4)
    (waiting,) = await rig.add()
    await rig.broker.leases.complete(rig.shard, [(*done, "")], now=NOW)
    await rig.broker.leases.release(rig.shard, [released], now=NOW)
    await rig.broker.leases.extend(rig.shard, HOUR, [running], now=NOW)
    assert (await rig.broker.maintenance.reap(rig.shard, 5, [0], now=NOW + LEASE)).outcomes == [(reaped[0], "retry")]
    strangers = [done, released, reaped, (running[0], "1.other"), (waiting, "1.c"), ("none", "1.c")]
    async with rig.unchanged():
        answers = await rig.broker.leases.fail(rig.shard, [(*held, ERROR, 0, False) for held in strangers], now=NOW)
    assert answers == ["lost"] * len(strangers)


async def test_outcomes_of_one_batch_are_apart(rig: Rig) -> None:
    retried, dead, flagged, lost = await rig.held(4)
    await rig.broker.jobs.cancel(rig.shard, [flagged[0]], now=NOW)
    batch = [
        (*retried, ERROR, SECOND, False),
        (*dead, ERROR, SECOND, True),
        (*flagged, ERROR, SECOND, False),
        (lost[0], "1.other", ERROR, SECOND, False),
    ]
    assert await rig.broker.leases.fail(rig.shard, batch, now=NOW) == ["retry", "dead", "cancelled", "lost"]
    row = await rig.row()
    assert [row[place] for place in ("scheduled", "dead", "finished", "running")] == [1, 1, 1, 1]


# --- dedupe keys -------------------------------------------------------------------------------------------------


async def test_a_retry_keeps_its_dedupe_key_and_death_frees_it(rig: Rig) -> None:
    (held,) = await rig.held(key="k")
    await fail(rig, held)
    assert await rig.broker.jobs.enqueue(rig.shard, [rig.job(key="k")]) == [f"duplicate {held[0]}"]
    (job,) = (await rig.claim()).jobs
    await fail(rig, (job.id, job.token), dead=True)
    await rig.add(key="k")


async def test_death_leaves_a_key_that_another_job_holds(rig: Rig) -> None:
    """Its TTL had passed, and another job took it."""
    (held,) = await rig.held(key="k")
    await rig.client.delete(rig.keys.dedupe(encode_key("k")))
    (other,) = await rig.add(key="k")
    await fail(rig, held, dead=True)
    assert await rig.client.get(rig.keys.dedupe(encode_key("k"))) == other.encode()

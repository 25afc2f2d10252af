"""fail with a snooze: running -> scheduled without an attempt, at most 1,000 times a run."""

from __future__ import annotations

from queuey.protocol.models import MAX_SNOOZES
from queuey.protocol.records import to_job
from queuey.store.broker.calls import Held
from tests.support.store import HOUR, NOW, SECOND, Rig

ERROR = '{"attempt":1,"kind":"snooze","message":"snoozed more than 1,000 times"}'


async def snooze(rig: Rig, *held: Held, delay: int = 0, now: int = NOW) -> list[str]:
    return await rig.broker.leases.fail(rig.shard, [(*item, ERROR, delay, False, True) for item in held], now=now)


async def was_snoozed_often(rig: Rig, held: Held, times: int) -> None:
    """Write this number of snoozes into the state."""
    key = rig.keys.state(held[0])
    head, newline, rest = (await rig.client.get(key)).decode().partition("\n")
    await rig.client.set(key, f"{head} S={times}{newline}{rest}")


async def test_it_is_scheduled_and_spends_nothing(rig: Rig) -> None:
    (held,) = await rig.held(priority="low", queue="mail", max_attempts=1)
    await rig.marked("mail")
    assert await snooze(rig, held, delay=5 * SECOND, now=NOW + SECOND) == ["snoozed"]
    stored, state = await rig.stored(held[0]), await rig.state(held[0])
    assert (state["s"], state["S"], state["p"], state["o"]) == ("w", "1", held[1], "n")
    assert not state.keys() & {"a", "x", "f", "h", "g"}
    assert "\n" not in stored.state, "no error is kept"
    assert await rig.scores(rig.keys.scheduled("mail", "low")) == {held[0]: NOW + 6 * SECOND}
    assert await rig.scores(rig.keys.leases("mail")) == {}
    assert await rig.marked("mail"), "the due time is an earlier one"
    assert await rig.counters() == {"enqueued": 1, "claimed": 1, "snoozed": 1}
    job = to_job(held[0], stored)
    assert (job.status, job.attempt, job.attempts, job.snoozed) == ("scheduled", 1, 0, 1)


async def test_the_next_claim_has_the_same_attempt(rig: Rig) -> None:
    (held,) = await rig.held()
    for times in (1, 2, 3):
        await snooze(rig, held)
        (job,) = (await rig.claim()).jobs
        held = (job.id, job.token)
        assert (job.attempt, (await rig.state(job.id))["S"]) == (1, str(times))
    await rig.broker.leases.fail(rig.shard, [(*held, "{}", 0, False)], now=NOW)
    (job,) = (await rig.claim()).jobs
    assert (job.attempt, (await rig.state(job.id))["S"]) == (2, "3")


async def test_a_job_that_was_snoozed_too_often_is_dead_with_the_error(rig: Rig) -> None:
    (held,) = await rig.held(max_attempts=9)
    await was_snoozed_often(rig, held, MAX_SNOOZES - 1)
    assert await snooze(rig, held) == ["snoozed"]
    (job,) = (await rig.claim()).jobs
    assert await snooze(rig, (job.id, job.token)) == ["dead"]
    state = await rig.state(job.id)
    assert (state["s"], state["o"], state["a"], state["S"]) == ("d", "d", "1", str(MAX_SNOOZES))
    assert (await rig.stored(job.id)).state.split("\n")[2:] == [f"{NOW} {ERROR}"]
    assert await rig.broker.dlq.replay(rig.shard, "y1", [job.id], now=NOW) == ["ok"]
    replayed = to_job(job.id, await rig.stored(job.id))
    assert (replayed.snoozed, replayed.attempt) == (0, 0), "a replay is a new run"


async def test_a_flagged_job_is_cancelled(rig: Rig) -> None:
    (held,) = await rig.held()
    await rig.broker.jobs.cancel(rig.shard, [held[0]], now=NOW)
    assert await snooze(rig, held) == ["cancelled"]
    state = await rig.state(held[0])
    assert (state["s"], state.get("a"), state.get("S")) == ("c", None, None)


async def test_the_same_token_again_is_answered_as_before(rig: Rig) -> None:
    (held,) = await rig.held()
    assert await snooze(rig, held, held, delay=HOUR) == ["snoozed", "snoozed"]
    async with rig.unchanged():
        assert await snooze(rig, held, delay=SECOND) == ["snoozed"]
    assert (await rig.state(held[0]))["S"] == "1"


async def test_who_does_not_hold_the_lease_changes_nothing(rig: Rig) -> None:
    released, running = await rig.held(2)
    await rig.broker.leases.release(rig.shard, [released], now=NOW)
    async with rig.unchanged():
        assert await snooze(rig, released, (running[0], "1.other"), ("none", "1.c")) == ["lost"] * 3

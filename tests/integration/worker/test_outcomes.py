"""What becomes of a job that was claimed: its handler's outcome, unless the lease went to somebody else."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from queuey.store.broker.broker import Broker
from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context, Snooze
from queuey.worker.lease_keeper import StoreRenewer
from queuey.worker.worker import Worker
from tests.support.store import Rig, Server
from tests.support.working import HELD, FaultyScripts, Stage, eventually, until_blocked, working


async def until_status(rig: Rig, job_id: str, status: str) -> dict[str, str]:
    """Wait for a letter in the header of a job's state; returns the header."""

    async def there() -> bool:
        return (await rig.state(job_id)).get("s") == status

    await eventually(there)
    return await rig.state(job_id)


async def errors(rig: Rig, job_id: str) -> list[str]:
    return (await rig.stored(job_id)).state.split("\n")[2:]


async def renew(worker: Worker, broker: Broker) -> None:
    """What the keeper's thread does three times per lease."""
    await worker.keeper.renew_once(StoreRenewer(broker), time.monotonic())
    await asyncio.sleep(0)  # it tells of trouble through the event loop


# --- the handler's outcome ---------------------------------------------------------------------------------------


async def test_a_result_is_kept_and_a_failure_is_retried_until_the_attempts_are_spent(
    rig: Rig, server: Server, stage: Stage
) -> None:
    good, bad = await rig.add(now=0, body=HELD) + await rig.add(now=0, body=HELD, max_attempts=2)
    async with working(server.url, stage.app, backoff_base=0.02, backoff_cap=0.02):
        assert await stage.take(2) == [good, bad]
        stage.finish(good, result={"n": [1, 2]})
        stage.fail(bad, ValueError("first"))
        assert await stage.next() == bad
        stage.fail(bad, ValueError("second"))
        assert (await until_status(rig, bad, "d"))["a"] == "2"
        await until_status(rig, good, "s")
    assert (await rig.stored(good)).state.split("\n")[1:] == ['{"n":[1,2]}']
    first, second = await errors(rig, bad)
    assert "ValueError: first" in first
    assert "ValueError: second" in second
    assert '"worker":"w1"' in first


async def test_an_unknown_type_is_put_off_and_costs_no_attempt_while_nothing_may_be_set_aside(
    rig: Rig, server: Server, stage: Stage
) -> None:
    """An older replica could lose a list that was set aside, so there is none until all know such lists."""
    unknown = await rig.add(2, now=0, body='{"type":"newer"}', max_attempts=1)
    (known,) = await rig.add(now=0, body=HELD)

    async def put_off() -> bool:
        return (await rig.row())["scheduled"] == 2

    async def holds_nothing() -> bool:
        return worker.running == {}

    with capture_logs() as logs:
        async with working(server.url, stage.app) as worker:
            assert await stage.next() == known
            await eventually(put_off)
            stage.finish(known)
            await until_status(rig, known, "s")
            await eventually(holds_nothing)  # which it does when it has read the store's answer
    for job in unknown:
        state = await rig.state(job)
        assert (state["s"], state["n"], "a" in state, "x" in state) == ("w", "1", False, False)
    told = [(log["types"], log["jobs"]) for log in logs if log["event"] == "types_unknown"]
    assert told == [(["newer"], 2)]


UNREADABLE = {
    "not JSON": b"r=1 c=1\n{not json",
    "nothing": b"",
    "no body": b"r=1 c=1",
    "another shape": b'r=1 c=1\n["type"]',
    "no type": b'r=1 c=1\n{"payload":1}',
    "a number that is none": b'r=1 m=many\n{"type":"held"}',
}


@pytest.mark.parametrize("definition", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_a_definition_that_cannot_be_read_ends_that_job_and_no_other(
    rig: Rig, server: Server, stage: Stage, definition: bytes
) -> None:
    before, corrupt, after = await rig.add(3, now=0, body=HELD)
    await rig.client.set(rig.keys.job(corrupt), definition)
    async with working(server.url, stage.app):
        assert await stage.take(2) == [before, after]
        state = await until_status(rig, corrupt, "d")
        assert state["a"] == "1"
        stage.finish(before, after)
        await until_status(rig, after, "s")
    (error,) = await errors(rig, corrupt)
    assert "cannot be read" in error


async def test_a_definition_that_is_no_text_costs_one_claim_and_no_worker(
    rig: Rig, server: Server, stage: Stage
) -> None:
    """The whole answer cannot be read then; what was claimed with it comes back when the leases have lapsed."""
    _, corrupt = await rig.add(2, now=0, body=HELD)
    await rig.client.set(rig.keys.job(corrupt), b'r=1 c=1\n{"type":"\xff"}')
    with capture_logs() as logs:
        async with working(server.url, stage.app):
            await until_blocked(rig.client, 1)
            (later,) = await rig.add(now=0, body=HELD)
            assert await stage.next() == later
            stage.finish(later)
            await until_status(rig, later, "s")
    assert [log["event"] for log in logs].count("claim_failed") == 1
    assert await _running(rig, 2)


# --- the lease ---------------------------------------------------------------------------------------------------


async def test_a_handler_whose_lease_was_lost_is_cancelled_and_its_result_discarded(
    rig: Rig, server: Server, stage: Stage
) -> None:
    cancelled = asyncio.Event()

    @stage.app.job("stubborn")
    async def stubborn(payload: None, ctx: Context) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
        return "a result all the same"

    obedient, other = await rig.add(now=0, body=HELD) + await rig.add(now=0, body='{"type":"stubborn"}')
    with capture_logs() as logs:
        async with working(server.url, stage.app, waker=False) as worker:
            assert await stage.next() == obedient
            await eventually(lambda: _running(rig, 2))
            reaped = await rig.broker.maintenance.reap(0, 10, [3_600_000], now=int(time.time() * 1000) + 3_600_000)
            assert reaped.outcomes == [(obedient, "retry"), (other, "retry")]
            async with rig.unchanged():
                await renew(worker, rig.broker)
                await asyncio.wait_for(cancelled.wait(), 10)
                await eventually(lambda: _idle(worker))
    assert stage.cancelled == [obedient]
    assert [log["job_id"] for log in logs if log["event"] == "lease_lost"] == [obedient, other]


async def _idle(worker: Worker) -> bool:
    return not worker.running


async def _running(rig: Rig, count: int) -> bool:
    return (await rig.row())["running"] == count


async def test_a_report_that_comes_too_late_changes_nothing_and_is_told(rig: Rig, server: Server, stage: Stage) -> None:
    done, broken = await rig.add(2, now=0, body=HELD)
    with capture_logs() as logs:
        async with working(server.url, stage.app, waker=False) as worker:
            assert await stage.take(2) == [done, broken]
            await rig.broker.maintenance.reap(0, 10, [3_600_000], now=int(time.time() * 1000) + 3_600_000)
            async with rig.unchanged():
                stage.finish(done)
                stage.fail(broken, ValueError())
                await eventually(lambda: _idle(worker))
    events = [(log["event"], log["job_id"], log["type"], log["attempt"]) for log in logs]
    assert sorted(events) == sorted([("lease_lost", done, "held", 1), ("lease_lost", broken, "held", 1)])


async def test_a_renewal_that_crosses_the_report_of_its_job_is_no_trouble(
    rig: Rig, server: Server, stage: Stage
) -> None:
    (job,) = await rig.add(now=0, body=HELD)
    scripts = FaultyScripts()
    scripts.gates["complete"] = asyncio.Event()
    with capture_logs() as logs:
        async with working(server.url, stage.app, scripts=scripts, waker=False) as worker:
            stage.finish(await stage.next())
            assert await asyncio.wait_for(scripts.waiting.get(), 10) == "complete"
            await renew(worker, rig.broker)  # the store has it completed, and the worker does not know yet
            scripts.gates["complete"].set()
            await until_status(rig, job, "s")
    assert [log for log in logs if log["event"] == "lease_lost"] == []


async def test_a_job_that_comes_back_to_the_process_that_lost_it_runs_beside_its_former_self(
    rig: Rig, server: Server, stage: Stage
) -> None:
    (job,) = await rig.add(now=0, body=HELD)
    async with working(server.url, stage.app) as worker:
        assert await stage.next() == job
        former = worker.running[job]
        await rig.broker.maintenance.reap(0, 10, [0], now=int(time.time() * 1000) + 3_600_000)
        await rig.broker.maintenance.promote(0, 10, now=int(time.time() * 1000) + 3_600_000)
        assert await stage.next() == job
        assert worker.running[job].token != former.token
        worker.on_trouble(job, former.token, "lost")  # of the former: not the one that runs now
        assert not worker.running[job].lost
        stage.finish(job, result=2)
        state = await until_status(rig, job, "s")
        assert (state["n"], state["x"]) == ("2", "1")


# --- cancelling --------------------------------------------------------------------------------------------------


async def test_a_running_job_is_cancelled_by_a_message(rig: Rig, server: Server, stage: Stage) -> None:
    job, other = await rig.add(2, now=0, body=HELD)
    async with working(server.url, stage.app, listener=True):
        assert await stage.take(2) == [job, other]
        await eventually(lambda: _listens(rig))
        assert await rig.broker.jobs.cancel(0, [job]) == ["cancelling"]
        await until_status(rig, job, "c")
        assert stage.cancelled == [job]
        stage.finish(other)
        await until_status(rig, other, "s")


async def _listens(rig: Rig) -> bool:
    return bool((await rig.client.pubsub_numsub("queuey:cancel"))[0][1])


async def test_when_the_message_is_lost_the_next_renewal_cancels(rig: Rig, server: Server, stage: Stage) -> None:
    (job,) = await rig.add(now=0, body=HELD)
    async with working(server.url, stage.app) as worker:
        assert await stage.next() == job
        assert await rig.broker.jobs.cancel(0, [job]) == ["cancelling"]
        await renew(worker, rig.broker)
        state = await until_status(rig, job, "c")
        assert (stage.cancelled, state["a"]) == ([job], "1")


async def test_a_job_that_succeeds_though_it_was_cancelled_has_succeeded(rig: Rig, server: Server) -> None:
    app, running = App(), asyncio.Event()

    @app.job("stubborn")
    async def stubborn(payload: Any) -> str:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"
        raise AssertionError

    (job,) = await rig.add(now=0, body='{"type":"stubborn"}')
    async with working(server.url, app) as worker:
        await asyncio.wait_for(running.wait(), 10)
        await rig.broker.jobs.cancel(0, [job])
        worker.on_cancel(job)
        worker.on_cancel("01ARZ3NDEKTSV4RRFFQ69G5FAV00")  # another process's
        await until_status(rig, job, "s")


# --- snoozes -------------------------------------------------------------------------------------------------------


async def test_a_snoozed_job_runs_again_at_the_same_attempt(rig: Rig, server: Server, stage: Stage) -> None:
    (job_id,) = await rig.add(now=0, body=HELD, max_attempts=1)
    with capture_logs() as logs:
        async with working(server.url, stage.app) as worker:
            for _ in range(3):
                assert await stage.next() == job_id
                stage.fail(job_id, Snooze(0.01))
            assert await stage.next() == job_id
            assert next(iter(worker.running.values())).work.attempt == 1
            stage.finish(job_id)
            state = await until_status(rig, job_id, "s")
    assert (state["S"], state.get("a"), state["n"]) == ("3", None, "4")
    assert await errors(rig, job_id) == []
    assert not [line for line in logs if line["log_level"] in ("warning", "error")]


async def test_one_snooze_too_many_makes_it_dead(rig: Rig, server: Server, stage: Stage) -> None:
    (job_id,) = await rig.add(now=0, body=HELD)
    async with working(server.url, stage.app):
        assert await stage.next() == job_id
        key = rig.keys.state(job_id)
        await rig.client.set(key, (await rig.client.get(key)) + b" S=1000")
        with capture_logs() as logs:
            stage.fail(job_id, Snooze(0.01, "not ready"))
            await until_status(rig, job_id, "d")
            await eventually_logged(logs, "job_dead")
    (line,) = [line for line in logs if line["event"] == "job_dead"]
    assert (line["kind"], line["error"]) == ("snooze", "snoozed more than 1,000 times: not ready")
    (error,) = await errors(rig, job_id)
    assert "snoozed more than 1,000 times: not ready" in error


async def eventually_logged(logs: Any, event: str) -> None:
    async def logged() -> bool:
        return any(line["event"] == event for line in logs)

    await eventually(logged)

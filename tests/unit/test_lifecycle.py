"""The tasks that a process takes along when it ends."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from queuey import lifecycle as stopping
from queuey.lifecycle import AGAIN, MAX_AGAIN, Alarm, Part, Retrying, StopSignals, Tasks, TimeLimit, end_tasks
from tests.support.virtual_time import block, in_virtual_time


async def test_a_second_signal_counts_unless_it_is_an_echo_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = StopSignals()
    signals.install()
    monkeypatch.setattr(stopping, "ECHO", 3600)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(signals.first.wait(), 10)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(0.01)
    assert not signals.second.is_set()
    monkeypatch.setattr(stopping, "ECHO", 0)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.wait_for(signals.second.wait(), 10)


async def test_tasks_that_have_ended_cost_no_wait() -> None:
    async def done() -> None:
        return None

    async def failed() -> None:
        raise ValueError

    tasks = [asyncio.create_task(done()), asyncio.create_task(failed())]
    await asyncio.wait(tasks)
    await end_tasks(tasks)
    assert isinstance(tasks[1].exception(), ValueError)
    await end_tasks([])


async def test_a_task_that_drops_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "CANCEL_AGAIN", 0.01)
    dropped = 0

    async def wait_on() -> None:
        nonlocal dropped
        while dropped < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                dropped += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(wait_on())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end_tasks([task])
    assert (task.cancelled(), dropped) == (True, 2)


async def test_a_task_that_never_ends_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "CANCEL_AGAIN", 0.001)
    over = False

    async def refuse() -> None:
        while not over:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(refuse())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end_tasks([task])
    assert not task.done()
    over = True
    task.cancel()
    await asyncio.wait([task])


def test_pauses_double_up_to_their_cap_and_begin_again_after_a_success() -> None:
    retries = Retrying(0.1, 0.5)
    assert [retries.next() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    retries.reset()
    assert retries.next() == 0.1


async def test_a_pause_ends_at_the_latest_when_it_is_told() -> None:
    async with asyncio.timeout(10):
        await Retrying(3600, 3600).wait(at_most=0)


async def test_a_task_that_ends_before_the_process_does_is_named() -> None:
    async def broken() -> None:
        raise ValueError

    tasks, stop = Tasks(), asyncio.Event()
    tasks.spawn("endless", _forever())
    tasks.spawn("broken", broken())
    (ended,) = await asyncio.wait_for(tasks.ended_before(stop), 10)
    assert (ended.get_name(), type(ended.exception())) == ("broken", ValueError)
    await tasks.end()


async def test_none_has_ended_when_the_process_is_to_stop() -> None:
    tasks, stop = Tasks(), asyncio.Event()
    tasks.spawn("endless", _forever())
    stop.set()
    assert await asyncio.wait_for(tasks.ended_before(stop), 10) == []
    await tasks.end()


async def _forever() -> None:
    await asyncio.Event().wait()


async def test_a_part_without_steps_of_its_own_does_nothing() -> None:
    part = Part()
    await part.start()
    await part.drain()
    await part.abandon()
    await part.stop()
    assert part.running == 0


# --- timers and a blocked event loop ------------------------------------------------------------------------------


@in_virtual_time
async def test_an_alarm_rings_at_its_time() -> None:
    loop = asyncio.get_running_loop()
    rung = loop.create_future()
    Alarm(5.0, lambda: rung.set_result(loop.time()))
    assert await rung == 5.0


@in_virtual_time
async def test_an_alarm_does_not_ring_because_the_loop_was_blocked() -> None:
    loop = asyncio.get_running_loop()
    rung = loop.create_future()
    Alarm(5.0, lambda: rung.set_result(loop.time()))
    block(9.0)
    assert await rung == 9.0 + AGAIN


@in_virtual_time
async def test_an_alarm_rings_also_if_the_loop_is_blocked_again_and_again() -> None:
    rung = asyncio.Event()
    Alarm(5.0, rung.set)
    blocks = 0
    while not rung.is_set():
        block(9.0)
        blocks += 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert blocks == MAX_AGAIN + 1


@in_virtual_time
async def test_a_cancelled_alarm_does_not_ring() -> None:
    rung = asyncio.Event()
    alarm = Alarm(5.0, rung.set)
    block(9.0)
    await asyncio.sleep(0)
    alarm.cancel()
    await asyncio.sleep(60)
    assert not rung.is_set()


@in_virtual_time
async def test_a_time_limit_ends_what_takes_too_long() -> None:
    with pytest.raises(TimeoutError):
        async with TimeLimit(5.0):
            await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() == 5.0
    async with TimeLimit(6.0):
        pass
    await asyncio.sleep(60)  # nothing is cancelled later

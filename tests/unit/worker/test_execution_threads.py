"""Threads: their slots, and what happens to one that does not return."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextvars import ContextVar
from queue import SimpleQueue
from threading import Event, Thread, current_thread, main_thread
from threading import enumerate as enumerate_threads
from typing import Any

import pytest

from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Succeeded
from queuey.worker.handlers.context import Context
from tests.support.executions import Events, HeldTimers, executing, failed, make_work

PATIENCE = 10
setting: ContextVar[str] = ContextVar("setting", default="unset")


class Blocking:
    """An App whose one handler reports its start and then waits; it returns whether it was cancelled."""

    def __init__(self) -> None:
        self.app = App()
        self.returned: SimpleQueue[bool] = SimpleQueue()
        self._go_on = Event()
        self._started: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        @self.app.job("t")
        def handler(job: None, ctx: Context) -> bool:
            loop.call_soon_threadsafe(self._started.put_nowait, ctx.job_id)
            assert self._go_on.wait(PATIENCE)
            self.returned.put(ctx.cancelled)
            return ctx.cancelled

    async def started(self) -> str:
        return await self._started.get()

    def go_on(self) -> None:
        self._go_on.set()


async def threads_ended() -> None:
    """Wait until the threads of a stopped execution are gone, and it knows."""
    for thread in enumerate_threads():
        if thread.name == "queuey-handler":
            await asyncio.to_thread(thread.join, PATIENCE)
    await asyncio.sleep(0)


async def test_it_is_no_main_thread_and_a_daemon() -> None:
    app = App()

    @app.job("t")
    def handler(job: None) -> list[bool]:
        return [current_thread() is main_thread(), current_thread().daemon]

    async with executing(app, None) as execution:
        assert await execution.run(make_work("t")) == Succeeded("[false,true]")


async def test_a_timeout_does_not_wait_for_the_thread() -> None:
    blocking, events = Blocking(), Events()
    async with executing(blocking.app, None, thread_slots=1, events=events) as execution:
        outcome = failed(await execution.run(make_work("t", timeout=0.02)), "timeout")
        assert outcome.message == "no result within 0.02 s"
        assert events == [("thread_abandoned", {"job_id": "job-1", "type": "t", "reason": "timeout"})]
        assert execution.stuck == 1
        blocking.go_on()
        assert await execution.run(make_work("t")) == Succeeded("false")  # In the one slot, so that it is free again.
        assert blocking.returned.get() is True
        assert execution.stuck == 0


async def test_a_cancel_is_seen_by_the_thread() -> None:
    blocking = Blocking()
    async with executing(blocking.app, None, thread_slots=1) as execution:
        work = make_work("t")
        task = asyncio.create_task(execution.run(work))
        await blocking.started()
        execution.cancel(work)
        failed(await task, "cancelled")
        blocking.go_on()
        assert await execution.run(make_work("t")) == Succeeded("false")  # In the one slot, so that it is free again.
        assert blocking.returned.get() is True
        assert execution.stuck == 0


async def test_a_cancel_of_the_callers_task_is_passed_on_and_seen_by_the_thread() -> None:
    blocking = Blocking()
    async with executing(blocking.app, None, thread_slots=1) as execution:
        task = asyncio.create_task(execution.run(make_work("t")))
        await blocking.started()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        blocking.go_on()
        assert await execution.run(make_work("t")) == Succeeded("false")  # In the one slot, so that it is free again.
        assert blocking.returned.get() is True
        assert execution.stuck == 0


async def test_a_stuck_thread_keeps_its_slot_until_it_returns() -> None:
    blocking = Blocking()
    async with executing(blocking.app, None, thread_slots=1) as execution:
        failed(await execution.run(make_work("t", id="stuck", timeout=0.01)), "timeout")
        assert await blocking.started() == "stuck"
        waiting = make_work("t", id="waiting", timeout=PATIENCE)
        task = asyncio.create_task(execution.run(waiting))
        for _ in range(10):
            await asyncio.sleep(0)
        assert waiting.started_at is None
        blocking.go_on()
        assert await task == Succeeded("false")
        assert waiting.started_at is not None


async def test_the_timeout_does_not_run_while_a_job_waits_for_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    blocking = Blocking()
    async with executing(blocking.app, None, thread_slots=1) as execution:
        timers = HeldTimers(execution, monkeypatch)
        first = asyncio.create_task(execution.run(make_work("t", id="first")))
        await blocking.started()
        second = asyncio.create_task(execution.run(make_work("t", id="second")))
        for _ in range(10):
            await asyncio.sleep(0)
        assert timers.begun == ["first"]
        blocking.go_on()
        assert await first == Succeeded("false")
        assert await second == Succeeded("false")
        assert timers.begun == ["first", "second"]


async def test_a_job_that_waits_for_a_slot_can_be_cancelled() -> None:
    blocking = Blocking()
    async with executing(blocking.app, None, thread_slots=1) as execution:
        first = asyncio.create_task(execution.run(make_work("t", id="first")))
        await blocking.started()
        waiting = make_work("t", id="waiting")
        second = asyncio.create_task(execution.run(waiting))
        await asyncio.sleep(0)
        execution.cancel(waiting)
        assert failed(await second, "cancelled").message == "cancelled before it started"
        blocking.go_on()
        assert await first == Succeeded("false")


async def test_as_many_run_at_once_as_there_are_slots() -> None:
    blocking = Blocking()
    async with executing(blocking.app, None, thread_slots=2) as execution:
        tasks = [asyncio.create_task(execution.run(make_work("t", id=str(n)))) for n in range(3)]
        assert {await blocking.started(), await blocking.started()} == {"0", "1"}
        blocking.go_on()
        assert await blocking.started() == "2"
        assert await asyncio.gather(*tasks) == [Succeeded("false")] * 3


async def test_threads_are_used_again() -> None:
    app = App()

    @app.job("t")
    def handler(job: None) -> int:
        return current_thread().ident or 0

    async with executing(app, None, thread_slots=8) as execution:
        outcomes = [await execution.run(make_work("t")) for _ in range(5)]
        assert len({outcome.result_json for outcome in outcomes if isinstance(outcome, Succeeded)}) == 1


async def test_context_variables_do_not_reach_the_next_job() -> None:
    app = App()

    @app.job("t")
    def handler(job: str) -> str:
        before = setting.get()
        setting.set(job)
        return before

    async with executing(app, None, thread_slots=1) as execution:
        for job in ('"a"', '"b"'):
            assert await execution.run(make_work("t", job)) == Succeeded('"unset"')


async def test_an_async_function_in_disguise_is_told() -> None:
    async def hidden() -> None: ...

    app = App()

    @app.job("t")
    def handler(job: None) -> Any:
        return hidden()

    async with executing(app, None) as execution:
        outcome = failed(await execution.run(make_work("t")), "result_not_json")
        assert "coroutine" in outcome.message


async def test_a_system_without_threads_to_give_fails_the_job_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Thread) -> None:
        raise RuntimeError("can't start new thread")

    app = App()

    @app.job("t")
    def handler(job: None) -> None: ...

    async with executing(app, None, thread_slots=1) as execution:
        with monkeypatch.context() as patch:
            patch.setattr(Thread, "start", refuse)
            for _ in range(2):
                outcome = failed(await execution.run(make_work("t")), "error")
                assert outcome.message == "RuntimeError: can't start new thread"
        assert await execution.run(make_work("t")) == Succeeded("null")


async def test_stop_counts_the_threads_that_are_stuck() -> None:
    blocking = Blocking()
    async with executing(blocking.app, None) as execution:
        task = asyncio.create_task(execution.run(make_work("t")))
        await blocking.started()
        assert await execution.stop(abandon=True) == 1
        failed(await task, "cancelled")
        blocking.go_on()
        await threads_ended()
        assert execution.stuck == 0


def test_a_stuck_thread_does_not_keep_the_interpreter_from_ending() -> None:
    script = """if True:
        import asyncio, threading
        from queuey.worker.execution import Execution
        from queuey.worker.handlers.app import App
        from queuey.worker.handlers.attempt import Work
        from queuey.worker.settings import ExecutionSettings

        app = App()
        @app.job("t", timeout=0.01)
        def handler(job: None) -> None:
            threading.Event().wait()

        async def main():
            settings = ExecutionSettings(thread_slots=1, process_slots=1, default_timeout=1, grace=0.01,
                                         result_limit=1000)
            execution = Execution(app, None, settings, on_event=lambda event, /, **fields: None)
            await execution.start()
            print((await execution.run(Work("id", "t", "default", "null", "1.a", 1, 5))).kind)
            print(await execution.stop(abandon=True))

        asyncio.run(main())
    """
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "timeout\n1\n", "")


async def test_a_thread_that_does_not_return_within_the_grace_is_stuck_until_it_does() -> None:
    blocking, events = Blocking(), Events()
    async with executing(blocking.app, None, thread_slots=2, grace=0.01, events=events) as execution:
        (room,) = execution.rooms
        assert (room.mode, room.types, room.free(9)) == ("thread", ("t",), 2)
        returned: asyncio.Queue[int] = asyncio.Queue()
        execution.on_thread_returned(lambda: returned.put_nowait(execution.rooms[0].free(9)))
        for number in range(2):
            failed(await execution.run(make_work("t", id=f"stuck-{number}", timeout=0.01)), "timeout")
        assert room.free(9) == 0
        while len(execution.stuck_threads()) < 2:
            await events.next()
        assert execution.blocked_types() == ("t",)
        assert [thread.type for thread in execution.stuck_threads()] == ["t", "t"]
        first, second = (thread.since_ms for thread in execution.stuck_threads())
        assert 0 < first <= second <= time.time() * 1000
        assert events[-1] == ("all_threads_stuck", {"threads": 2, "types": ["t"]})
        blocking.go_on()
        assert await returned.get() == 1
        assert execution.blocked_types() == ()
        assert await returned.get() == 2
        assert execution.stuck_threads() == []
        assert events[-1] == ("thread_returned", {"threads": 2, "stuck": 1})


async def test_a_thread_that_returns_within_the_grace_is_not_stuck() -> None:
    blocking, events = Blocking(), Events()
    async with executing(blocking.app, None, thread_slots=1, events=events) as execution:
        returned = asyncio.Event()
        execution.on_thread_returned(returned.set)
        failed(await execution.run(make_work("t", timeout=0.01)), "timeout")
        assert execution.rooms[0].free(1) == 0
        blocking.go_on()
        await returned.wait()
        assert execution.rooms[0].free(1) == 1
        assert execution.stuck_threads() == []
    assert events.names == ["thread_abandoned"]

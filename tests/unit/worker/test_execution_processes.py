"""Child processes: each lives and dies alone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from queuey.worker.execution import Execution
from queuey.worker.executors.processes import _spawn
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Outcome, Succeeded
from tests.support import handlers
from tests.support.executions import Events, HeldTimers, executing, failed, make_work
from tests.support.gate import Gate, Visitor
from tests.support.handlers import Deed


async def enter(execution: Execution, gate: Gate, type: str = "gate") -> tuple[asyncio.Task[Outcome], Visitor]:
    """Run a handler up to the gate."""
    task = asyncio.create_task(execution.run(make_work(type, Deed(gate.path))))
    return task, await gate.visitor()


async def test_a_child_is_used_again_and_another_is_started_when_it_is_busy() -> None:
    async with executing() as execution, Gate() as gate:
        first, visitor = await enter(execution, gate)
        second, other = await enter(execution, gate)
        assert visitor.pid != other.pid
        for one in (visitor, other):
            one.let_go("done")
        assert await first == await second == Succeeded('"done"')
        third, again = await enter(execution, gate)
        assert again.pid in (visitor.pid, other.pid)
        again.let_go("")
        await third


async def test_the_timeout_does_not_run_while_a_job_waits_for_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    async with executing(process_slots=1) as execution, Gate() as gate:
        timers = HeldTimers(execution, monkeypatch)
        first, visitor = await enter(execution, gate)
        second = asyncio.create_task(execution.run(make_work("process", Deed("echo", 1), id="waiting")))
        for _ in range(10):
            await asyncio.sleep(0)
        assert timers.begun == ["job-1"]
        visitor.let_go("done")
        await first
        assert await second == Succeeded("1")
        assert timers.begun == ["job-1", "waiting"]


@pytest.mark.parametrize("code", [0, 3])
async def test_a_child_that_exits_is_a_failed_attempt(code: int) -> None:
    events = Events()
    async with executing(events=events) as execution, Gate() as gate:
        task, visitor = await enter(execution, gate)
        visitor.let_go(f"exit{code}")
        outcome = failed(await task, "worker_died")
        assert outcome.message == f"the child process ended with exit code {code}"
        assert not outcome.dead
        assert 1000 <= outcome.retry_after_ms <= 2000
        assert events.names == ["child_died"]
        assert await execution.run(make_work("process", Deed("echo", 1))) == Succeeded("1")


async def test_a_child_that_is_killed_takes_no_sibling_along() -> None:
    async with executing() as execution, Gate() as gate:
        victim, killed = await enter(execution, gate)
        sibling, survivor = await enter(execution, gate)
        os.kill(killed.pid, signal.SIGKILL)
        assert failed(await victim, "worker_died").message == "the child process was killed by signal 9 (SIGKILL)"
        assert not sibling.done()
        survivor.let_go("alive")
        assert await sibling == Succeeded('"alive"')


async def test_an_idle_child_that_is_killed_is_replaced() -> None:
    async with executing(process_slots=1) as execution, Gate() as gate:
        task, visitor = await enter(execution, gate)
        visitor.let_go("done")
        await task
        exited = next(iter(execution._processes._children)).exited
        os.kill(visitor.pid, signal.SIGKILL)
        await asyncio.wait({exited})
        assert await execution.run(make_work("process", Deed("echo", 1))) == Succeeded("1")


async def test_a_timeout_kills_the_child_and_no_sibling(monkeypatch: pytest.MonkeyPatch) -> None:
    async with executing() as execution, Gate() as gate:
        sibling, survivor = await enter(execution, gate)
        timers = HeldTimers(execution, monkeypatch)
        task = asyncio.create_task(execution.run(make_work("gate", Deed(gate.path), id="slow", timeout=0.5)))
        visitor = await gate.visitor()
        timers.start("slow")
        assert failed(await task, "timeout").message == "no result within 0.5 s"
        await visitor.gone()
        survivor.let_go("alive")
        assert await sibling == Succeeded('"alive"')


async def test_a_cancel_kills_the_child() -> None:
    async with executing() as execution, Gate() as gate:
        work = make_work("gate", Deed(gate.path))
        task = asyncio.create_task(execution.run(work))
        visitor = await gate.visitor()
        execution.cancel(work)
        assert failed(await task, "cancelled").message == "cancelled while it ran"
        await visitor.gone()


async def test_a_cancel_of_the_callers_task_is_passed_on_and_kills_the_child() -> None:
    async with executing() as execution, Gate() as gate:
        task, visitor = await enter(execution, gate)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await visitor.gone()


async def test_a_cancel_while_the_child_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    spawned = asyncio.Event()

    def spawn(descriptor: int) -> subprocess.Popen[bytes]:
        spawned.set()
        return _spawn(descriptor)

    monkeypatch.setattr("queuey.worker.executors.processes._spawn", spawn)
    async with executing() as execution:
        work = make_work("process", Deed("echo"))
        task = asyncio.create_task(execution.run(work))
        await spawned.wait()
        execution.cancel(work)
        assert failed(await task, "cancelled").message == "cancelled before it started"
        assert await execution.run(make_work("process", Deed("echo", 1))) == Succeeded("1")


async def test_what_a_handler_started_is_killed_with_it() -> None:
    async with executing() as execution, Gate() as gate:
        work = make_work("family", Deed(gate.path))
        task = asyncio.create_task(execution.run(work))
        grandchild = await gate.visitor()
        execution.cancel(work)
        failed(await task, "cancelled")
        await grandchild.gone()


@pytest.mark.parametrize("escapes", [False, True])
async def test_a_child_that_leaves_a_copy_of_itself_behind_is_dead_all_the_same(escapes: bool) -> None:
    async with executing() as execution, Gate() as gate:
        task = asyncio.create_task(execution.run(make_work("orphan", Deed(gate.path, escapes))))
        visitors = [await gate.visitor(), await gate.visitor()]
        pids = {child._process.pid for child in execution._processes._children}
        [child] = [visitor for visitor in visitors if visitor.pid in pids]
        [copy] = [visitor for visitor in visitors if visitor.pid not in pids]
        child.let_go("")
        assert failed(await task, "worker_died").message == "the child process ended with exit code 5"
        if escapes:  # Out of our reach, but it holds nobody up.
            copy.let_go("")
        await copy.gone()


async def test_signals_to_a_group_are_left_to_the_parent() -> None:
    async with executing() as execution, Gate() as gate:
        task, visitor = await enter(execution, gate)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(visitor.pid, number)
        visitor.let_go("still here")
        assert await task == Succeeded('"still here"')
        task, visitor = await enter(execution, gate)
        os.kill(visitor.pid, signal.SIGKILL)
        assert failed(await task, "worker_died").message == "the child process was killed by signal 9 (SIGKILL)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
async def test_a_program_that_a_handler_starts_can_be_ended(number: signal.Signals) -> None:
    """The child neither ignores the signals nor leaves them blocked: a program inherits both."""
    async with executing() as execution:
        assert await execution.run(make_work("process", Deed("ended_by", int(number)))) == Succeeded(str(-number))


async def test_a_signal_while_a_child_starts_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(descriptor: int) -> subprocess.Popen[bytes]:
        process = _spawn(descriptor)
        process.send_signal(signal.SIGTERM)
        return process

    monkeypatch.setattr("queuey.worker.executors.processes._spawn", spawn)
    async with executing() as execution:
        assert await execution.run(make_work("process", Deed("echo", 1))) == Succeeded("1")
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "the parent takes it again"


async def test_a_child_is_the_leader_of_its_own_process_group() -> None:
    async with executing() as execution, Gate() as gate:
        task, visitor = await enter(execution, gate)
        assert os.getpgid(visitor.pid) == visitor.pid != os.getpgrp()
        visitor.let_go("")
        await task


@pytest.mark.parametrize("abandon", [False, True])
async def test_stop_leaves_no_child(abandon: bool) -> None:
    async with executing(grace=0.05) as execution, Gate() as gate:
        task, busy = await enter(execution, gate)
        idle_task, idle = await enter(execution, gate)
        idle.let_go("done")
        await idle_task
        assert await execution.stop(abandon=abandon) == 0
        failed(await task, "cancelled")
        await busy.gone()
        await idle.gone()
        assert not execution._processes._children


async def test_stop_kills_a_child_that_does_not_end_by_itself() -> None:
    async with executing() as execution, Gate() as gate:
        task, frozen = await enter(execution, gate)
        frozen.let_go("done")
        await task
        os.kill(frozen.pid, signal.SIGSTOP)
        await execution.stop(abandon=False)
        with pytest.raises(ProcessLookupError):
            os.kill(frozen.pid, 0)


async def test_what_a_child_starts_inherits_none_of_its_files() -> None:
    async with executing() as execution:
        assert await execution.run(make_work("process", Deed("inherited"))) == Succeeded("[]")


async def test_logs_of_a_child_are_bound_to_the_job(capfd: pytest.CaptureFixture[str]) -> None:
    async with executing(log_format="json") as execution:
        assert await execution.run(make_work("log")) == Succeeded("null")
    line = json.loads(capfd.readouterr().err)
    assert {name: line[name] for name in ("event", "answer", "job_id", "type", "attempt", "level")} == {
        "event": "seen_in_child",
        "answer": 42,
        "job_id": "job-1",
        "type": "log",
        "attempt": 1,
        "level": "warning",
    }


class TestStart:
    """Children that cannot start: the attempt fails and says why, and nothing is started again by itself."""

    async def fail(self, path: str) -> str:
        async with executing(handlers.app, path) as execution:
            outcome = failed(await execution.run(make_work("process", Deed("echo"))), "worker_died")
            assert not outcome.dead
            assert not execution._processes._idle
            return outcome.message

    async def test_an_app_that_is_not_there(self) -> None:
        assert await self.fail("no_such_module:app") == (
            "the child process could not load the App: AppNotFound: --app 'no_such_module:app': there is no module "
            f"'no_such_module' in {os.getcwd()} or among the installed packages"
        )

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("1/0", "importing the module failed with ZeroDivisionError: division by zero"),
            ("import sys; sys.exit(3)", "the child process could not load the App: SystemExit: 3"),
            ("import os; os._exit(4)", "the child process ended with exit code 4"),
        ],
    )
    async def test_an_app_that_fails_in_the_child(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
    ) -> None:
        Path(tmp_path, "only_in_child.py").write_text(source)
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
        assert (await self.fail("only_in_child:app")).endswith(message)

    async def test_a_handler_that_only_the_parent_has(self) -> None:
        async with executing(handlers.app, "queuey.worker.handlers.builtin:app") as execution:
            outcome = failed(await execution.run(make_work("process", Deed("echo"))), "unknown_type")
            assert outcome.message == "the App has no handler for 'process' when a child process loads it"

    async def test_no_python(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        assert "could not be started" in await self.fail(handlers.PATH)

    async def test_one_that_takes_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("queuey.worker.executors.processes.START_SECONDS", 0.0)
        assert await self.fail(handlers.PATH) == "the child process could not load the App in 0 s"

    async def test_without_process_handlers_there_is_no_child(self) -> None:
        async with executing(App(), None) as execution:
            assert not execution._processes._children


async def test_no_child_survives_a_parent_that_is_killed() -> None:
    script = """if True:
        import asyncio, sys
        from tests.support.executions import executing, make_work
        from tests.support.handlers import Deed

        async def main(gate):
            async with executing() as execution:
                await execution.run(make_work("process", Deed("echo")))
                await asyncio.gather(*(execution.run(make_work(t, Deed(gate))) for t in ("gate", "family")))

        asyncio.run(main(sys.argv[1]))
    """
    async with Gate() as gate:
        parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, gate.path)
        visitors = [await gate.visitor(), await gate.visitor()]
        parent.kill()
        await parent.wait()
        for visitor in visitors:
            await visitor.gone()

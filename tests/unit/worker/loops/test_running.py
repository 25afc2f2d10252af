"""An event loop goes on, whatever the tasks of handlers raise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

import pytest
import uvloop
from structlog.testing import capture_logs

from queuey import forks
from queuey.worker.executors.running import run_to_end

pytestmark = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
NewLoop = Callable[[], asyncio.AbstractEventLoop]


async def leave(error: BaseException) -> NoReturn:
    raise error


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def test_what_leaves_the_loop_is_logged_and_nothing_is_missed(new_loop: NewLoop) -> None:
    called: list[int] = []

    async def main() -> str:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(leave(SystemExit(number))) for number in range(3)]
        for number in range(3):
            loop.call_soon(called.append, number)
        await asyncio.wait(tasks)
        assert [str(task.exception()) for task in tasks] == ["0", "1", "2"]
        loop.call_soon(interrupt)
        await asyncio.sleep(0.001)
        loop.stop()
        await asyncio.sleep(0.001)
        return "done"

    with capture_logs() as logs, asyncio.Runner(loop_factory=new_loop) as runner:
        assert run_to_end(runner.get_loop(), main()) == "done"
    assert called == [0, 1, 2]
    errors = [log["error"] for log in logs if log["event"] == "event_loop_left"]
    assert "KeyboardInterrupt" in errors
    assert errors[-1].startswith("RuntimeError: Event loop stopped")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), RuntimeError("no"), ValueError("no")])
def test_what_the_coroutine_itself_raises_ends_it(new_loop: NewLoop, error: BaseException) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(type(error)) as raised:
        run_to_end(runner.get_loop(), leave(error))
    assert raised.value is error


def test_a_forked_copy_does_not_go_on(new_loop: NewLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(Exception):
        """Stands for the end of the process."""

    def end_copy(type: str) -> NoReturn:
        raise Ended(type)

    def exit_in_copy() -> NoReturn:
        monkeypatch.setitem(forks._state, "forks", forks.count() + 1)
        raise SystemExit

    async def main() -> None:
        asyncio.get_running_loop().call_soon(exit_in_copy)
        await asyncio.sleep(60)

    monkeypatch.setattr(forks, "end_copy", end_copy)
    with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(Ended):
        run_to_end(runner.get_loop(), main())

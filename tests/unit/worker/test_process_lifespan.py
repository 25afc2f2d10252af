"""`process_lifespan`: the state of child processes, and of process handlers in tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from queuey import App, Testing
from queuey.errors import StartupError
from queuey.worker.handlers.attempt import Succeeded
from tests.support.executions import executing, failed, make_work
from tests.unit.worker import isolated_app as apps


async def test_a_child_enters_it_once_and_leaves_it(tmp_path: Path) -> None:
    file = tmp_path / "left"
    async with executing(apps.with_processes, apps.PATH_OF_PROCESSES, process_slots=1) as execution:
        pids = set()
        for number in (1, 2):
            outcome = await execution.run(make_work("state", msgspec.json.encode(str(file)).decode()))
            assert isinstance(outcome, Succeeded), outcome
            entered_by, run_by, runs = msgspec.json.decode(outcome.result_json)
            assert runs == number
            pids |= {entered_by, run_by}
        assert not file.exists()
    assert len(pids) == 1
    assert os.getpid() not in pids
    assert file.read_text() == str(*pids)


async def test_an_isolated_process_handler_has_it_too() -> None:
    async with executing(apps.with_processes, apps.PATH_OF_PROCESSES) as execution:
        work = make_work("state", "null")
        work.isolated = True
        assert isinstance(outcome := await execution.run(work), Succeeded), outcome


async def test_one_that_fails_is_named_with_its_traceback() -> None:
    async with executing(apps.without_process, apps.PATH_WITHOUT_PROCESS) as execution:
        outcome = failed(await execution.run(make_work("state", "null")), "worker_died")
        assert "the App's process_lifespan failed: ConnectionError: no database here" in outcome.message
        assert "_refuse" in str(outcome.detail)
        isolated = make_work("state", "null")
        isolated.isolated = True
        assert "process_lifespan failed" in failed(await execution.run(isolated), "error").message
        assert isinstance(await execution.run(make_work("loop", "null")), Succeeded)


async def test_one_without_its_decorator() -> None:
    def bare(app: App) -> Iterator[None]:
        yield

    with pytest.raises(StartupError, match=r"decorate .*bare .* with contextlib\.contextmanager"):
        App(process_lifespan=bare)  # type: ignore[arg-type]


async def test_an_included_app_cannot_have_one() -> None:
    with pytest.raises(StartupError, match="the included App has a lifespan"):
        App().include(App(process_lifespan=apps.process_lifespan))


class TestInTests:
    async def test_the_state_of_a_process_handler_is_that_of_its_process(self) -> None:
        async with Testing(apps.app) as testing:
            assert (await testing.run("state.only", None)).value() is None
        async with Testing(apps.with_processes) as testing:
            assert (await testing.run("state", None)).value() == [os.getpid(), os.getpid(), 1]

    async def test_it_is_entered_and_left(self, tmp_path: Path) -> None:
        async with Testing(apps.with_processes) as testing:
            await testing.run("state", str(tmp_path / "left"))
            assert not (tmp_path / "left").exists()
        assert (tmp_path / "left").exists()

    async def test_one_that_fails_ends_the_test(self) -> None:
        app = App(process_lifespan=apps.process_fails)
        with pytest.raises(StartupError, match="process_lifespan failed: ConnectionError: no database here"):
            await Testing(app).__aenter__()
        assert app.sender is None

"""What holds in every executor: each deed of tests/support/handlers.py in the loop, in a thread and in a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from queuey.errors import StartupError
from queuey.protocol.models import Backoff
from queuey.worker.execution import Execution
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Failed, Succeeded
from queuey.worker.handlers.context import Context
from queuey.worker.handlers.error_text import HEAD
from queuey.worker.settings import ExecutionSettings
from tests.support import handlers
from tests.support.executions import RESULT_LIMIT, TOKEN, Events, executing, failed, make_work
from tests.support.handlers import Deed

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODES = ("loop", "thread", "process")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def execution() -> AsyncIterator[Execution]:
    async with executing() as execution:
        yield execution


async def act(execution: Execution, mode: str, name: str, value: Any = None) -> Succeeded | Failed:
    return await execution.run(make_work(mode, Deed(name, value)))


@pytest.mark.parametrize("mode", MODES)
class TestResults:
    @pytest.mark.parametrize("value", [None, True, 0, 1.5, "é\n😀", [1, [2]], {"a": {"b": None}}, 10**30])
    async def test_json_values(self, execution: Execution, mode: str, value: object) -> None:
        outcome = await act(execution, mode, "echo", value)
        assert isinstance(outcome, Succeeded)
        assert msgspec.json.decode(outcome.result_json) == value

    @pytest.mark.parametrize(
        ("name", "result"),
        [
            ("struct", '{"name":"struct","value":1}'),
            ("lines", '{"a":[1,2]}'),
            ("raw_nulls", '[{"a":null},{"b":"null island"},null]'),
            ("nulls", '{"a":null,"b":[null,{"c":"null"}]}'),
        ],
    )
    async def test_what_msgspec_encodes(self, execution: Execution, mode: str, name: str, result: str) -> None:
        assert await act(execution, mode, name) == Succeeded(result)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("nan", "ValueError: /result/ratio is nan, and JSON has no such number."),
            ("raw_and_nan", "ValueError: /result/1 is nan, and JSON has no such number."),
            ("raw_nan", "DecodeError: JSON is malformed: invalid character (byte 7)"),
            ("infinity", "ValueError: /result/0 is inf, and JSON has no such number."),
            ("object", "TypeError: Encoding objects of type object is unsupported"),
            ("circular", "RecursionError: "),
            ("bad_raw", "DecodeError: JSON is malformed"),
        ],
    )
    async def test_what_is_no_json(self, execution: Execution, mode: str, name: str, message: str) -> None:
        outcome = failed(await act(execution, mode, name), "result_not_json")
        assert outcome.message.startswith(message)
        assert not outcome.dead
        assert 1000 <= outcome.retry_after_ms <= 2000

    async def test_a_result_is_nested_no_deeper_than_a_payload(self, mode: str) -> None:
        async with executing(json_depth=64) as execution:
            assert isinstance(await act(execution, mode, "nested", 64), Succeeded)
            outcome = failed(await act(execution, mode, "nested", 65), "result_not_json")
            assert outcome.message == "the result is nested deeper than 64 levels (json_depth)"
            assert outcome.retry_after_ms >= 1000

    async def test_the_limit_counts_bytes_of_json(self, execution: Execution, mode: str) -> None:
        assert isinstance(await act(execution, mode, "text", RESULT_LIMIT - 2), Succeeded)
        outcome = failed(await act(execution, mode, "text", RESULT_LIMIT - 1), "result_too_large")
        assert outcome.message == "the result takes 1,001 bytes; the limit is 1,000"
        assert not outcome.dead


def first_line(mode: str) -> int:
    """The number of the one line in the handler's body."""
    code = handlers.app.handlers[mode].function.__code__
    return max(line for _, _, line in code.co_lines() if line is not None)


@pytest.mark.parametrize("mode", MODES)
class TestFailures:
    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("fail", "no such file", "ValueError: no such file"),
            ("fail", "x" * 100_000, "ValueError: " + "x" * 988),
            ("exit", 3, "SystemExit: 3"),
            ("interrupt", None, "KeyboardInterrupt"),
            ("cancelled", None, "CancelledError"),
            ("unprintable", None, "Unprintable: (the exception cannot be printed)"),
            ("unpicklable", None, "Unpicklable: holds a lock"),
            ("surrogate", None, "ValueError: ?"),
            ("group", None, "ExceptionGroup: a (2 sub-exceptions): ExceptionGroup: b (1 sub-exception): KeyError: 1"),
        ],
    )
    async def test_whatever_a_handler_raises(
        self, execution: Execution, mode: str, name: str, value: object, message: str
    ) -> None:
        outcome = failed(await act(execution, mode, name, value), "error")
        assert outcome.message == message
        assert outcome.detail is not None
        *_, trace = outcome.detail.split(HEAD)
        _, first, code, *others = trace.splitlines()
        assert first.endswith(f'handlers.py", line {first_line(mode)}, in in_{mode}')
        assert code == "    return act(deed, ctx)"
        assert "    raise error" in others
        assert not outcome.dead
        assert 1000 <= outcome.retry_after_ms <= 2000

    @pytest.mark.parametrize(("name", "message"), [("recurse", "RecursionError"), ("stop_iteration", "StopIteration")])
    async def test_what_python_itself_stumbles_over(
        self, execution: Execution, mode: str, name: str, message: str
    ) -> None:
        assert message in failed(await act(execution, mode, name), "error").message

    async def test_a_handler_that_cannot_be_called(self, execution: Execution, mode: str) -> None:
        outcome = failed(await act(execution, mode, "call", None), "error")
        assert "missing 1 required positional argument" in outcome.message

    async def test_retry(self, execution: Execution, mode: str) -> None:
        outcome = failed(await act(execution, mode, "retry", 12.5), "retry")
        assert (outcome.message, outcome.retry_after_ms, outcome.dead) == ("not yet", 12500, False)

    async def test_retry_at_once(self, execution: Execution, mode: str) -> None:
        assert failed(await act(execution, mode, "retry", 0), "retry").retry_after_ms == 0

    async def test_retry_without_a_time(self, execution: Execution, mode: str) -> None:
        assert 1000 <= failed(await act(execution, mode, "retry_class"), "retry").retry_after_ms <= 2000

    async def test_dead(self, execution: Execution, mode: str) -> None:
        assert await act(execution, mode, "dead", "gone") == Failed("dead", "gone", dead=True)

    @pytest.mark.parametrize(
        ("payload", "message"),
        [
            ('{"name":1}', "Expected `str`, got `int` - at `$.name`"),
            ("{}", "Object missing required field `name`"),
            ('{"name":', "Input data was truncated"),
            ('{"value":' + "[" * 50_000, "maximum recursion depth exceeded while deserializing an object"),
        ],
    )
    async def test_a_payload_that_does_not_fit(
        self, execution: Execution, mode: str, payload: str, message: str
    ) -> None:
        outcome = await execution.run(make_work(mode, payload))
        assert outcome == Failed("payload", message, dead=True)

    async def test_one_failure_leaves_the_next_job_alone(self, execution: Execution, mode: str) -> None:
        failed(await act(execution, mode, "exit", 1), "error")
        assert await act(execution, mode, "echo", 1) == Succeeded("1")

    async def test_a_cancel_before_the_start(self, execution: Execution, mode: str) -> None:
        work = make_work(mode, Deed("echo"))
        execution.cancel(work)
        assert failed(await execution.run(work), "cancelled").message == "cancelled before it started"
        assert work.started_at is None


@pytest.mark.parametrize("mode", MODES)
async def test_the_context(execution: Execution, mode: str) -> None:
    work = make_work(mode, Deed("context"))
    outcome = await execution.run(work)
    assert isinstance(outcome, Succeeded)
    assert msgspec.json.decode(outcome.result_json) == {
        "job_id": "job-1",
        "type": mode,
        "queue": "default",
        "attempt": 1,
        "max_attempts": 5,
        "token": TOKEN,
        "claims": 7,
        "cancelled": False,
        "state": None,
        "tags": [],
        "metadata": {},
    }
    work = make_work(mode, Deed("context"))
    work.tags, work.metadata = ("vip", "customer:42"), {"tenant": "Ácme"}
    outcome = await execution.run(work)
    assert isinstance(outcome, Succeeded)
    shown = msgspec.json.decode(outcome.result_json)
    assert (shown["tags"], shown["metadata"]) == (["vip", "customer:42"], {"tenant": "Ácme"})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("payload", [b'{"name":"echo","value":1}', msgspec.Raw(b'{"name":"echo","value":1}')])
async def test_payloads_may_be_bytes(execution: Execution, mode: str, payload: bytes | msgspec.Raw) -> None:
    work = make_work(mode)
    work.payload = payload
    assert await execution.run(work) == Succeeded("1")


async def test_an_unknown_type_is_retried(execution: Execution) -> None:
    outcome = failed(await execution.run(make_work("nobody.knows", attempt=3)), "unknown_type")
    assert outcome.message == "there is no handler for the type 'nobody.knows' here"
    assert not outcome.dead
    assert 4000 <= outcome.retry_after_ms <= 8000


class TestPrecedence:
    async def test_backoff_grows_with_the_attempts(self, execution: Execution) -> None:
        outcome = await execution.run(make_work("loop", Deed("fail"), attempt=1000))
        assert 30_000 <= failed(outcome, "error").retry_after_ms <= 60_000

    async def test_the_backoff_of_the_type(self, execution: Execution) -> None:
        assert 5000 <= failed(await execution.run(make_work("patient")), "error").retry_after_ms <= 10_000

    async def test_the_backoff_of_the_job(self, execution: Execution) -> None:
        work = make_work("patient", backoff=Backoff(base=100, factor=1, cap=100))
        assert 50_000 <= failed(await execution.run(work), "error").retry_after_ms <= 100_000

    async def test_timeouts(self, execution: Execution) -> None:
        works = make_work("loop"), make_work("patient"), make_work("patient", timeout=3)
        for work in works:
            await execution.run(work)
        assert [work.limit for work in works] == [30, 77, 3]


class TestLifespan:
    async def test_its_state_reaches_loop_and_threads_and_it_is_left_at_the_end(self) -> None:
        steps: list[str] = []
        task: list[asyncio.Task[Any] | None] = []

        @asynccontextmanager
        async def lifespan(app: App) -> AsyncIterator[str]:
            task.append(asyncio.current_task())
            steps.append("entered")
            yield "a pool"
            task.append(asyncio.current_task())
            steps.append("left")

        app = App(lifespan=lifespan)

        @app.job("loop")
        async def in_loop(job: None, ctx: Context) -> Any:
            steps.append("ran")
            return ctx.state

        @app.job("thread")
        def in_thread(job: None, ctx: Context) -> Any:
            return ctx.state

        async with executing(app, None) as execution:
            assert await execution.run(make_work("loop")) == Succeeded('"a pool"')
            assert await execution.run(make_work("thread")) == Succeeded('"a pool"')
        assert steps == ["entered", "ran", "left"]
        assert task[0] is task[1]

    async def test_one_that_fails_stops_the_start(self) -> None:
        @asynccontextmanager
        async def lifespan(app: App) -> AsyncIterator[None]:
            if app.handlers == {}:
                raise OSError("no database")
            yield

        with pytest.raises(StartupError, match="the App's lifespan failed: OSError: no database") as caught:
            async with executing(App(lifespan=lifespan), None):
                pass
        _, first, code, *_ = (caught.value.trace or "").splitlines()
        assert (first.endswith(", in lifespan"), code) == (True, '    raise OSError("no database")')

    async def test_one_that_fails_at_the_start_is_reported_once(self) -> None:
        """By the error of the start. A server then stops all parts whose start has begun."""

        @asynccontextmanager
        async def lifespan(app: App) -> AsyncIterator[None]:
            if app.handlers == {}:
                raise OSError("no database")
            yield

        events = Events()
        settings = ExecutionSettings(thread_slots=1, process_slots=1, default_timeout=1.0, grace=1.0, result_limit=1)
        execution = Execution(App(lifespan=lifespan), None, settings, on_event=events)
        with pytest.raises(StartupError):
            await execution.start()
        assert await execution.stop(abandon=True) == 0
        assert events == []

    async def test_one_that_fails_at_the_end_is_told(self) -> None:
        @asynccontextmanager
        async def lifespan(app: App) -> AsyncIterator[None]:
            yield
            raise OSError("already closed")

        events = Events()
        async with executing(App(lifespan=lifespan), None, events=events):
            pass
        assert events == [("lifespan_failed", {"error": "OSError: already closed"})]

    async def test_one_that_does_not_end_is_given_up(self) -> None:
        cancelled = asyncio.Event()

        @asynccontextmanager
        async def lifespan(app: App) -> AsyncIterator[None]:
            yield
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        events = Events()
        async with executing(App(lifespan=lifespan), None, events=events, grace=0.05):
            pass
        assert events == [("lifespan_failed", {"error": "it did not end in 0.05 s"})]
        await cancelled.wait()

    async def test_a_start_that_is_cancelled_cancels_it(self) -> None:
        entered, cancelled = asyncio.Event(), asyncio.Event()

        @asynccontextmanager
        async def lifespan(app: App) -> AsyncIterator[None]:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            yield

        async def start() -> None:
            async with executing(App(lifespan=lifespan), None):
                pytest.fail("it started")

        starting = asyncio.create_task(start())
        await entered.wait()
        starting.cancel()
        await cancelled.wait()
        with pytest.raises(asyncio.CancelledError):
            await starting


async def test_process_handlers_need_the_path_of_their_app() -> None:
    with pytest.raises(StartupError, match="need the path of their App, as module:attribute"):
        async with executing(handlers.app, None):
            pass


async def test_nothing_runs_after_the_stop() -> None:
    async with executing() as execution:
        pass
    failed(await execution.run(make_work("loop", Deed("echo"))), "cancelled")

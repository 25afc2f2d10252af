"""Providers: they run where the handler runs, each once a run, and are left in reverse order."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import pytest

from queuey import App, Context, Dead, Depends, Fields, Middleware, Testing
from queuey.forks import EXIT_CODE
from queuey.worker.execution import Execution
from queuey.worker.handlers.attempt import Succeeded
from queuey.worker.handlers.parameters.schemas import payload_schemas
from queuey.worker.settings import ExecutionSettings
from tests.support.executions import executing, failed, make_work
from tests.support.handlers import app as without_providers
from tests.unit.worker.providers import provided_app as ready

EVERYWHERE = pytest.mark.parametrize(
    ("type", "isolated"),
    [("loop", False), ("thread", False), ("process", False), ("loop", True), ("thread", True), ("process", True)],
)
HERE = "test_providers.py:"


@EVERYWHERE
async def test_they_run_around_the_handler_each_once_and_are_left_in_reverse_order(type: str, isolated: bool) -> None:
    async with executing(ready.app, ready.PATH) as execution:
        work = make_work(type, {"number": 7}, attempt=2)
        work.isolated = isolated
        outcome = await execution.run(work)
    assert isinstance(outcome, Succeeded), outcome
    assert msgspec.json.decode(outcome.result_json) == [
        f"trail {type} 2",
        "session",
        "handler 7 a session of 3",
        "session left",
        "trail left",
    ]


@EVERYWHERE
async def test_they_see_the_error_of_the_handler_and_may_replace_it(type: str, isolated: bool) -> None:
    async with executing(ready.app, ready.PATH) as execution:
        work = make_work(type, {"fail": True})
        work.isolated = isolated
        outcome = failed(await execution.run(work), "retry")
    assert outcome.message == f"trail {type} 1 < session < handler 0 a session of 3 < session rolled back < no"
    assert outcome.after == 7


@pytest.mark.parametrize("type", ["loop", "thread", "process"])
async def test_a_copy_that_comes_back_from_the_handler_does_not_leave_them(type: str) -> None:
    async with Testing(ready.app) as testing:
        assert str(EXIT_CODE) in (await testing.run(type, {"fork": True})).value()


async def test_those_that_are_async_and_what_they_need() -> None:
    async with Testing(ready.app) as testing:
        ran = await testing.run("async")
    assert ran.value() == [["connected", "channel left"], ["trail async 1", "trail left"]]


async def test_their_parameters_are_no_fields_of_the_payload() -> None:
    async with Testing(ready.app) as testing:
        assert (await testing.run("parts", {"path": "a.png"})).value() == "a.png 200 a session of 3"
        assert (await testing.run("parts", {"path": "a.png", "db": "x"})).kind == "payload"
    assert ready.parts.payload("a.png", width=3) == {"path": "a.png", "width": 3}  # type: ignore[call-arg]
    assert ready.parts.request(Fields(path="a.png")).payload
    with pytest.raises(TypeError, match="db"):
        ready.parts.request(Fields(path="a.png", db="x"))
    schemas = payload_schemas(ready.app.handlers)
    assert set(schemas["model.parts.Fields"]["properties"]) == {"path", "width"}
    assert schemas["payload.loop"] == {"$ref": "#/components/schemas/model.loop.Order"}


async def test_a_handler_without_providers_runs_as_it_is() -> None:
    settings = ExecutionSettings(thread_slots=1, process_slots=1, default_timeout=1.0, grace=1.0, result_limit=1000)
    execution = Execution(without_providers, "tests.support.handlers:app", settings)
    for type, handler in without_providers.handlers.items():
        assert execution._handlers[type] is handler
    assert any(handler.run is handler.function for handler in without_providers.handlers.values())


def refuse(why: str) -> str:
    raise KeyError(why)


def raises() -> str:
    return refuse("before")


def raises_before() -> Iterator[str]:
    yield refuse("before")


def raises_after() -> Iterator[str]:
    yield "value"
    refuse("after")


async def raises_async() -> str:
    return refuse("before")


async def raises_before_async() -> AsyncIterator[str]:
    yield refuse("before")


async def raises_after_async() -> AsyncIterator[str]:
    yield "value"
    refuse("after")


def never_yields() -> Iterator[str]:
    yield from ()


def yields_twice() -> Iterator[str]:
    yield "one"
    yield "two"


async def never_yields_async() -> AsyncIterator[str]:
    for _ in ():
        yield _


async def yields_twice_async() -> AsyncIterator[str]:
    yield "one"
    yield "two"


FAULTS = [
    (raises, "KeyError: 'before'"),
    (raises_before, "KeyError: 'before'"),
    (raises_after, "KeyError: 'after'"),
]
ASYNC_FAULTS = [
    (raises_async, "KeyError: 'before'"),
    (raises_before_async, "KeyError: 'before'"),
    (raises_after_async, "KeyError: 'after'"),
]


def needing(provider: Callable[..., Any], *, is_async: bool = True) -> App:
    """An App with a handler in the loop that needs it, and one in a thread."""
    app = App()
    run = Depends(provider)

    async def in_loop(job: Any, value: Any) -> Any:
        return value

    def in_thread(job: Any, value: Any) -> Any:
        return value

    in_loop.__annotations__["value"] = in_thread.__annotations__["value"] = Annotated[Any, run]
    app.job("loop")(in_loop)
    if not is_async:
        app.job("thread")(in_thread)
    return app


@pytest.mark.parametrize("type", ["loop", "thread"])
@pytest.mark.parametrize(("provider", "message"), FAULTS)
async def test_the_error_says_whose_provider_it_was(provider: Callable[..., Any], message: str, type: str) -> None:
    async with Testing(needing(provider, is_async=False)) as testing:
        ran = await testing.run(type)
    assert (ran.status, ran.kind) == ("retry", "error")
    assert str(ran.message).startswith(f"{message} (the provider {__name__}.{provider.__name__} (")
    assert HERE in str(ran.message)


@pytest.mark.parametrize(("provider", "message"), ASYNC_FAULTS)
async def test_so_does_that_of_an_async_one(provider: Callable[..., Any], message: str) -> None:
    async with Testing(needing(provider)) as testing:
        ran = await testing.run("loop")
    assert (ran.status, ran.kind) == ("retry", "error")
    assert str(ran.message).startswith(f"{message} (the provider {__name__}.{provider.__name__} (")


def yields_after_an_error() -> Iterator[str]:
    try:
        yield "one"
    except ValueError:
        yield "two"


async def yields_after_an_error_async() -> AsyncIterator[str]:
    try:
        yield "one"
    except ValueError:
        yield "two"


@contextmanager
def broken() -> Iterator[None]:
    yield from ()


def uses_broken() -> Iterator[str]:
    with broken():
        yield "never"


YIELDS = [
    (never_yields, "did not yield"),
    (never_yields_async, "did not yield"),
    (yields_twice, "yielded twice"),
    (yields_twice_async, "yielded twice"),
    (yields_after_an_error, "yielded again after an error"),
    (yields_after_an_error_async, "yielded again after an error"),
]


@pytest.mark.parametrize(("provider", "fault"), YIELDS)
async def test_one_that_does_not_yield_once_is_told_so(provider: Callable[..., Any], fault: str) -> None:
    app = App()

    async def handler(fails: bool, value: Any) -> None:
        if fails:
            raise ValueError("no")

    handler.__annotations__["value"] = Annotated[Any, Depends(provider)]
    app.job("x")(handler)
    async with Testing(app) as testing:
        ran = await testing.run("x", "after an error" in fault)
    place = rf"\(the provider {__name__}.{provider.__name__} \(.*{HERE}\d+\)\)"
    assert re.fullmatch(rf"RuntimeError: it {fault}: a provider must yield exactly once {place}", str(ran.message))


async def test_the_same_fault_within_a_provider_is_that_of_its_own() -> None:
    async with Testing(needing(uses_broken, is_async=False)) as testing:
        for type in ("thread", "loop"):
            assert str((await testing.run(type)).message).startswith(
                "RuntimeError: generator didn't yield (the provider"
            )


left: list[str] = []


def outer() -> Iterator[str]:
    try:
        yield "outer"
    except BaseException as error:
        left.append(f"outer saw {error!r}")
        raise


Outer = Annotated[str, Depends(outer)]


def swallows(outer: Outer) -> Iterator[str]:
    try:
        yield "swallows"
    except ValueError:
        left.append("swallowed")


async def swallows_async(outer: Outer) -> AsyncIterator[str]:
    try:
        yield "swallows"
    except ValueError:
        left.append("swallowed")


def fails_inside(value: Annotated[str, Depends(swallows)]) -> None:
    raise ValueError("not done")


def gives_up() -> str:
    raise Dead("not today")


failing = App()


@failing.job("thread")
def in_thread(job: None, value: Annotated[str, Depends(swallows)]) -> None:
    raise ValueError("not done")


@failing.job("loop")
async def in_loop(job: None, value: Annotated[str, Depends(swallows)]) -> None:
    raise ValueError("not done")


@failing.job("async")
async def in_async(job: None, value: Annotated[str, Depends(swallows_async)]) -> None:
    raise ValueError("not done")


@failing.job("provider")
def in_provider(job: None, value: Annotated[None, Depends(fails_inside)]) -> None: ...


@failing.job("dead")
def in_dead(job: None, outer: Outer, value: Annotated[str, Depends(gives_up)]) -> None: ...


@pytest.mark.parametrize("type", ["thread", "loop", "async", "provider"])
async def test_an_error_that_one_swallows_still_fails_the_job_and_the_others_see_it(type: str) -> None:
    left.clear()
    async with Testing(failing) as testing:
        ran = await testing.run(type)
    assert ran.kind == "error"
    assert str(ran.message).startswith("ValueError: not done")
    assert left == ["swallowed", "outer saw ValueError('not done')"]


async def test_dead_means_the_same_as_in_a_handler() -> None:
    left.clear()
    async with Testing(failing) as testing:
        ran = await testing.run("dead")
    assert (ran.status, ran.kind, ran.message) == ("dead_letter", "dead", "not today")
    assert left == ["outer saw Dead('not today')"]


async def test_middleware_sees_their_errors() -> None:
    app, seen = needing(raises), []

    @app.middleware
    def look(ctx: Context) -> Middleware:
        outcome = yield
        seen.append((outcome.status, outcome.exception))

    async with Testing(app) as testing:
        await testing.run("loop")
    assert [(status, type(error)) for status, error in seen] == [("error", KeyError)]


hangs_for = threading.Event()
late = App()


async def waits_for_ever(outer: Outer) -> None:
    await asyncio.Event().wait()


def blocks(outer: Outer) -> None:
    assert hangs_for.wait(30)


@late.job("loop", timeout=0.05)
async def too_late(job: None, value: Annotated[None, Depends(waits_for_ever)]) -> None: ...


@late.job("thread", timeout=0.05)
def too_late_in_thread(job: None, value: Annotated[None, Depends(blocks)]) -> None: ...


@late.job("late", timeout=0.05)
def returns_too_late(job: None, value: Outer) -> str:
    assert hangs_for.wait(30)
    return "done"


async def test_one_that_never_returns_is_under_the_timeout_of_the_job() -> None:
    left.clear()
    async with Testing(late) as testing:
        assert (await testing.run("loop")).kind == "timeout"
    assert left == ["outer saw CancelledError()"]


@pytest.mark.parametrize("type", ["thread", "late"])
async def test_in_a_thread_they_see_that_a_result_comes_too_late(type: str) -> None:
    left.clear()
    hangs_for.clear()
    async with executing(late, None, default_timeout=30.0) as execution:
        returned = asyncio.Event()
        execution.on_thread_returned(returned.set)
        failed(await execution.run(make_work(type)), "timeout")
        assert left == []
        hangs_for.set()
        await returned.wait()
    assert left == ["outer saw TimeoutError('no result within 0.05 s')"]

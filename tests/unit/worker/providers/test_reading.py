"""Providers that are refused when their handler is registered, with their file and line."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import pytest

from queuey import App, Context, Depends, Testing
from queuey.errors import StartupError

if TYPE_CHECKING:
    from decimal import Decimal


def plain() -> int:
    return 1


def of_a_run(ctx: Context) -> str:
    return ctx.type


async def is_async() -> int:
    return 1


async def is_async_generator() -> AsyncIterator[int]:
    yield 1


def needs_async(value: Annotated[int, Depends(is_async)]) -> int:
    return value


def first(second: Annotated[int, Depends(lambda: 0)]) -> int:
    return second


def second(first: Annotated[int, Depends(first)]) -> int:
    return first


def third(third: Annotated[int, Depends(lambda: 0)]) -> int:
    return third


first.__annotations__["second"] = Annotated[int, Depends(second)]
third.__annotations__["third"] = Annotated[int, Depends(third)]


@contextmanager
def manager() -> Iterator[int]:
    yield 1


@asynccontextmanager
async def async_manager() -> AsyncIterator[int]:
    yield 1


def takes_payload(job: dict[str, int]) -> int:
    return len(job)


def takes_untyped(job) -> int:  # type: ignore[no-untyped-def]
    return len(job)


def is_positional(value: int, /) -> int:
    return value


def takes_run(name: Annotated[str, Depends(of_a_run)]) -> str:
    return name


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> int:
        return 1


HERE = r"test_reading\.py:\d+"
REFUSED: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (is_async, {}, rf"is_async \(.*{HERE}\) is async, and its handler is not: make the provider a plain function"),
    (is_async_generator, {}, rf"is_async_generator \(.*{HERE}\) is async"),
    (needs_async, {}, rf"is_async \(.*{HERE}\) is async"),
    (first, {}, rf"depend on each other in a circle: .*first \(.*{HERE}\) -> .*second \(.*{HERE}\) -> .*first \("),
    (second, {}, r"in a circle: .*second \(.*\) -> .*first \(.*\) -> .*second \("),
    (third, {}, r"in a circle: .*third \(.*\) -> .*third \("),
    (manager, {}, rf"manager \(.*{HERE}\) returns no value, but .*: leave out contextlib.contextmanager"),
    (async_manager, {}, "leave out contextlib.contextmanager"),
    (takes_payload, {}, rf"takes_payload \(.*{HERE}\): nothing fills 'job'. Annotate it with Context or Annotated"),
    (takes_untyped, {}, "nothing fills 'job'"),
    (is_positional, {}, r"'value' cannot be positional-only: remove the / from \(value: 'int', /\)"),
    (of_a_run, {"per": "process"}, r'of_a_run \(.*\) has per="process", so its \'ctx\' cannot be the Context'),
    (takes_run, {"per": "process"}, r"so its 'name' cannot be the provider .*of_a_run \(.*which belongs to one run"),
]


@pytest.mark.parametrize(("provider", "options", "why"), REFUSED)
def test_a_provider_that_cannot_be_used(provider: Callable[..., Any], options: dict[str, Any], why: str) -> None:
    def handler(job: Any, value: Any) -> Any: ...

    handler.__annotations__["value"] = Annotated[Any, Depends(provider, **options)]
    with pytest.raises(StartupError, match=rf"handler \(.*{HERE}\): .*{why}"):
        App().job("x")(handler)


class OtherDepends:
    """A mark of another library."""

    def __init__(self, provider: Callable[..., Any]) -> None: ...


OtherDepends.__name__, OtherDepends.__module__ = "Depends", "fastapi.params"
MARKS: list[tuple[Any, str]] = [
    (Depends("session"), r"Depends takes a function, and this is a str: write Depends\(provider\) with the function"),  # type: ignore[arg-type]
    (Depends(plain()), "this is a int: write .*, without its ()"),  # type: ignore[arg-type]
    (Depends(Depends(plain)), "this is a Depends"),  # type: ignore[arg-type]
    (Depends(None), "this is a NoneType"),  # type: ignore[arg-type]
    (Depends(plain, per="thread"), r'Depends\(per=\'thread\'\): it is one of "run", "process"'),  # type: ignore[arg-type]
    (Depends(Unhashable()), "this object has no hash"),
    (Depends, r"'value' has Depends without its provider: write value: Annotated\[..., Depends\(provider\)\]"),
    (OtherDepends(plain), "'value' has the Depends of fastapi: use that of Queuey, from queuey import Depends"),
]


@pytest.mark.parametrize(("mark", "why"), MARKS)
def test_marks_that_are_refused(mark: Any, why: str) -> None:
    def handler(job: Any, value: Any) -> Any: ...

    handler.__annotations__["value"] = Annotated[Any, mark]
    with pytest.raises(StartupError, match=rf"handler \(.*{HERE}\): .*{why}"):
        App().job("x")(handler)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (Annotated[int, Depends(plain)] | None, None),
        (list[Annotated[int, Depends(plain)]], None),
        (Annotated[int, Depends(plain), Depends(of_a_run)], None),
        (int, Depends(plain)),
        (int, Depends),
    ],
)
def test_a_mark_in_the_wrong_place(annotation: Any, default: Any) -> None:
    def handler(job: Any, value: Any = default) -> Any: ...

    handler.__annotations__["value"] = annotation
    with pytest.raises(StartupError, match=r"write value: Annotated\[\.\.\., Depends\(.*\)\]"):
        App().job("x")(handler)


def in_a_provider(value: Annotated[int, Depends("session")] = 5) -> int:
    return value


def test_a_mark_that_is_text_is_refused_where_a_default_would_hide_it() -> None:
    def handler(job: Any, value: Annotated[int, Depends(in_a_provider)]) -> Any: ...

    def named(job: Any, ctx: Annotated[int, Depends("session")]) -> Any: ...

    for function, place in ((handler, "the provider .*in_a_provider"), (named, "named")):
        with pytest.raises(StartupError, match=rf"{place} \(.*{HERE}\): Depends takes a function, and this is a str"):
            App().job("x")(function)


def test_a_handler_with_providers_still_takes_a_payload() -> None:
    def handler(value: Annotated[int, Depends(plain)]) -> None: ...

    with pytest.raises(StartupError, match="a handler takes a payload"):
        App().job("x")(handler)


class Settings:
    """A class is a provider too."""

    def __init__(self, base: Annotated[int, Depends(plain)], limit: int = 5) -> None:
        self.limit = base + limit


class Pool:
    def __init__(self, size: int) -> None:
        self.size = size

    def session(self) -> Iterator[int]:
        yield self.size

    def __call__(self, settings: Annotated[Settings, Depends(Settings)]) -> int:
        return self.size + settings.limit


pool = Pool(3)
Number: TypeAlias = Annotated[int, "documented", Depends(plain)]


def unresolved(ctx, size: Decimal | None = None) -> str:  # type: ignore[no-untyped-def]
    return str(ctx.type)


def scaled(by: int, base: Number) -> int:
    return by * base


ready = App()


@ready.job("all")
def handler(
    job: None,
    settings: Annotated[Settings, Depends(Settings)],
    session: Annotated[int, Depends(pool.session)],
    size: Annotated[int, Depends(pool)],
    number: Number,
    name: Annotated[str, Depends(unresolved)],
    part: Annotated[int, Depends(functools.partial(scaled, 4))],
    made: Annotated[dict[str, int], Depends(dict)],
) -> list[object]:
    return [settings.limit, session, size, number, name, part, made]


async def test_what_can_be_a_provider() -> None:
    async with Testing(ready) as testing:
        assert (await testing.run("all")).value() == [6, 3, 9, 1, "all", 4, {}]

"""Providers that a test replaces: wherever they are needed, also by each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any
from unittest.mock import AsyncMock, Mock

import pytest

from queuey import App, Context, Depends, Testing
from queuey.errors import StartupError
from tests.unit.worker.providers import provided_app as ready

Overrides = dict[Callable[..., Any], Callable[..., Any]]
HERE = r"test_overrides\.py:\d+"


def replaced() -> Iterator[str]:
    yield "a session of tests"


@pytest.mark.parametrize("type", ["loop", "thread", "process"])
async def test_a_test_replaces_them(type: str) -> None:
    async with Testing(ready.app, overrides={ready.session: replaced, ready.trail: list}) as testing:
        assert (await testing.run(type, {"number": 7})).value() == ["handler 7 a session of tests"]
    async with Testing(ready.app, overrides={ready.pool: lambda: [5]}) as testing:
        assert (await testing.run("pool.loop")).value() == [5]


async def test_an_override_of_one_that_is_inside() -> None:
    async with Testing(ready.app, overrides={ready.connect: lambda: ["a fake"]}) as testing:
        assert (await testing.run("async")).value()[0] == ["a fake", "channel left"]


def settings() -> str:
    return "settings"


def database(settings: Annotated[str, Depends(settings, per="process")]) -> str:
    return f"database({settings})"


def session(database: Annotated[str, Depends(database)]) -> str:
    return f"session({database})"


def mailer(database: Annotated[str, Depends(database)]) -> str:
    return f"mailer({database})"


app = App()


@app.job("thread")
def in_thread(
    job: None,
    session: Annotated[str, Depends(session)],
    mailer: Annotated[str, Depends(mailer)],
    database: Annotated[str, Depends(database)],
) -> list[str]:
    return [session, mailer, database]


@app.job("loop")
async def in_loop(
    job: None,
    database: Annotated[str, Depends(database)],
    mailer: Annotated[str, Depends(mailer)],
    session: Annotated[str, Depends(session)],
) -> list[str]:
    return [session, mailer, database]


def fake_settings() -> str:
    return "fake"


def fake_database() -> str:
    return "fake_database"


def fake_session(mailer: Annotated[str, Depends(mailer)], ctx: Context) -> str:
    return f"fake_session({mailer})"


def around_database(database: Annotated[str, Depends(database)]) -> str:
    return f"around({database})"


def around_both(database: Annotated[str, Depends(database)], session: Annotated[str, Depends(session)]) -> str:
    return f"both({database}, {session})"


CASES: list[tuple[Overrides, str, str, str]] = [
    ({settings: fake_settings}, "session(database(fake))", "mailer(database(fake))", "database(fake)"),
    ({database: fake_database}, "session(fake_database)", "mailer(fake_database)", "fake_database"),
    (
        {session: fake_session, database: fake_database},
        "fake_session(mailer(fake_database))",
        "mailer(fake_database)",
        "fake_database",
    ),
    (
        {session: fake_session, mailer: lambda: "no mail", settings: fake_settings},
        "fake_session(no mail)",
        "no mail",
        "database(fake)",
    ),
    (
        {database: around_database, settings: fake_settings},
        "session(around(database(fake)))",
        "mailer(around(database(fake)))",
        "around(database(fake))",
    ),
    ({session: fake_database}, "fake_database", "mailer(database(settings))", "database(settings)"),
    (
        {session: mailer, mailer: session},
        "mailer(database(settings))",
        "session(database(settings))",
        "database(settings)",
    ),
    (
        {database: fake_database, settings: fake_settings},
        "session(fake_database)",
        "mailer(fake_database)",
        "fake_database",
    ),
]


@pytest.mark.parametrize("type", ["loop", "thread"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("overrides", "session", "mailer", "database"), CASES)
async def test_those_that_need_each_other(
    overrides: Overrides, session: str, mailer: str, database: str, type: str, backwards: bool
) -> None:
    if backwards:
        overrides = dict(reversed(overrides.items()))
    async with Testing(app, overrides=overrides) as testing:
        assert (await testing.run(type)).value() == [session, mailer, database]


async def test_mocks_are_functions_too() -> None:
    async with Testing(app, overrides={database: Mock(return_value="mock")}) as testing:
        assert (await testing.run("thread")).value() == ["session(mock)", "mailer(mock)", "mock"]


def needs_session(session: Annotated[str, Depends(session)]) -> str:
    return session


def takes_payload(number: int) -> str:
    return str(number)


def of_a_run(ctx: Context) -> str:
    return ctx.type


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> str:
        return ""


REFUSED: list[tuple[Any, str]] = [
    ({replaced: list}, rf"no handler needs the provider .*replaced \(.*{HERE}\)"),
    ({database: needs_session}, rf"in_thread .*{HERE}\): .* in a circle: .*needs_session .*session"),
    ({database: around_both, session: fake_session}, "a circle: .*fake_session .*mailer .*around_both .*fake_session"),
    ({database: AsyncMock()}, rf"overrides: .*in_thread .*{HERE}\): .* is async, and its handler is not"),
    ({database: takes_payload}, r"overrides: .*takes_payload \(.*\): nothing fills 'number'"),
    ({settings: of_a_run}, r'overrides: .*of_a_run \(.*\) has per="process", so its \'ctx\' cannot be the Context'),
    ({database: "sqlite://"}, r"database .* replaced by a str, not by a function: write .*\{provider: lambda: value\}"),
    ({database: Unhashable()}, r"overrides: .* this object has no hash"),
    ({"database": fake_database}, r"overrides: 'database' is not a function: its keys are what Depends\(...\) has"),
    ({Depends(database): fake_database}, r"overrides: .*Depends.* is not a function"),
    ([database], r"write overrides=\{provider: function\}"),
]


@pytest.mark.parametrize(("overrides", "why"), REFUSED)
async def test_overrides_that_are_refused(overrides: Any, why: str) -> None:
    with pytest.raises(StartupError, match=why):
        await Testing(app, overrides=overrides).__aenter__()

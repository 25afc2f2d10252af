"""What fills the parameters of a handler, and what is refused when it is registered."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from queuey import App, Context, Fields, Testing
from queuey.errors import StartupError
from queuey.worker.testing import Ran
from tests.unit.worker.handlers import sample_app

if TYPE_CHECKING:
    import queuey
    from queuey import Context as OnlyForCheckers


class Size(msgspec.Struct):
    width: int


def said(*values: object) -> list[object]:
    """The values as a handler returns them: the type of a job for its Context."""
    return [value.type if isinstance(value, Context) else value for value in values]


async def several(path: str, width: int = 200) -> list[object]:
    return said(path, width)


def in_a_thread(path: str, width: int = 200) -> list[object]:
    return said(path, width)


async def keyword_only(*, path: str, width: int = 200) -> list[object]:
    return said(path, width)


async def context_first(ctx: Context, path: str, width: int = 200) -> list[object]:
    return said(path, width, ctx)


async def context_between(path: str, ctx: Context[Any], width: int = 200) -> list[object]:
    return said(path, width, ctx)


async def context_by_keyword(path: str, width: int = 200, *, ctx: Context | None) -> list[object]:
    return said(path, width, ctx)


async def nested(size: Size, labels: list[str] = ["new"]) -> list[object]:  # noqa: B006 - the same list each time
    return said(size.width, labels)


async def whole(job: Any) -> list[object]:
    return said(job)


async def whole_by_position(job: Any, /, ctx: Context) -> list[object]:
    return said(job, ctx)


async def context_before_whole(ctx: Context, job: Any) -> list[object]:
    return said(job, ctx)


async def whole_and_named(job: Any, *, ctx: Context) -> list[object]:
    return said(job, ctx)


async def unannotated(job, c):  # type: ignore[no-untyped-def]
    return said(job, c)


async def any_second(job: Any, c: Any) -> list[object]:
    return said(job, c)


async def named_ctx(path: str, width: int, ctx: Any) -> list[object]:
    return said(path, width, ctx)


async def for_checkers(job: Any, c: queuey.Context) -> list[object]:
    return said(job, c)


async def alias_for_checkers(job: Any, ctx: OnlyForCheckers | None) -> list[object]:
    return said(job, ctx)


async def run(function: Callable[..., Any], payload: object) -> Ran:
    app = App()
    app.job("t")(function)
    async with Testing(app) as testing:
        return await testing.run("t", payload)


class TestFilled:
    @pytest.mark.parametrize(
        ("function", "expected"),
        [
            (several, ["a.png", 200]),
            (in_a_thread, ["a.png", 200]),
            (keyword_only, ["a.png", 200]),
            (context_first, ["a.png", 200, "t"]),
            (context_between, ["a.png", 200, "t"]),
            (context_by_keyword, ["a.png", 200, "t"]),
        ],
    )
    async def test_two_or_more_take_the_fields_of_an_object(
        self, function: Callable[..., Any], expected: list[object]
    ) -> None:
        assert (await run(function, {"path": "a.png"})).value() == expected
        assert (await run(function, {"width": 3, "path": "a.png"})).value() == ["a.png", 3, *expected[2:]]

    async def test_a_field_may_be_an_object(self) -> None:
        assert (await run(nested, {"size": {"width": 1}})).value() == [1, ["new"]]

    @pytest.mark.parametrize(
        ("function", "expected"),
        [
            (whole, [{"path": 1}]),
            (whole_by_position, [{"path": 1}, "t"]),
            (context_before_whole, [{"path": 1}, "t"]),
            (whole_and_named, [{"path": 1}, "t"]),
            (unannotated, [{"path": 1}, "t"]),
            (any_second, [{"path": 1}, "t"]),
            (for_checkers, [{"path": 1}, "t"]),
            (alias_for_checkers, [{"path": 1}, "t"]),
        ],
    )
    async def test_one_takes_the_whole_payload(self, function: Callable[..., Any], expected: list[object]) -> None:
        assert (await run(function, {"path": 1})).value() == expected

    async def test_a_context_is_known_by_its_name_where_nothing_else_says_what_it_is(self) -> None:
        assert (await run(named_ctx, {"path": "a", "width": 1})).value() == ["a", 1, "t"]

    async def test_a_default_is_the_object_of_the_function(self) -> None:
        app = App()
        app.job("t")(nested)
        first, second = (app.handlers["t"].decode('{"size":{"width":1}}') for _ in range(2))
        assert first.labels is second.labels

    @pytest.mark.parametrize(
        ("payload", "message"),
        [
            ({"path": "a", "height": 1}, "unknown field `height`"),
            ({"width": 1}, "missing required field `path`"),
            ({"path": "a", "width": "wide"}, r"Expected `int`, got `str` - at `\$\.width`"),
            ("a.png", "Expected `object`, got `str`"),
            (None, "Expected `object`, got `null`"),
        ],
    )
    @pytest.mark.parametrize("function", [several, in_a_thread, context_between])
    async def test_what_does_not_fit_is_a_fault_of_the_payload(
        self, function: Callable[..., Any], payload: object, message: str
    ) -> None:
        ran = await run(function, payload)
        assert (ran.status, ran.kind) == ("dead_letter", "payload")
        with pytest.raises(AssertionError, match=message):
            ran.value()


def none_at_all() -> None: ...
def only_context(ctx: Context) -> None: ...
def star(*jobs: Any) -> None: ...
def star_after(job: Any, *more: Any) -> None: ...
def any_keyword(job: Any, **more: Any) -> None: ...
def two_contexts(job: Any, ctx: Context, again: Context) -> None: ...
def positional_only(path: str, /, width: int) -> None: ...
def context_by_position(ctx: Context, job: Any, /) -> None: ...
def one_is_unknown(path: str, size: OnlyKnownToNobody) -> None: ...  # type: ignore[name-defined] # noqa: F821


class Mailer:
    def send(self, job: str) -> str:
        return job

    @classmethod
    def of_class(cls, job: str) -> str:
        return job

    @staticmethod
    def of_nobody(job: str) -> str:
        return job


class TestRefused:
    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (none_at_all, r"takes a payload, and this takes \(\): add one, as in \(job: None\)"),
            (only_context, r"takes a payload, and this takes \(ctx: 'Context'\)"),
            (star, r"names its parameters: \*jobs: 'Any' in .* cannot be filled"),
            (star_after, r"\*more: 'Any' in"),
            (any_keyword, r"\*\*more: 'Any' in"),
            (two_contexts, "'ctx' and 'again' are both annotated with Context: keep one"),
            (positional_only, r"'path' cannot be positional-only: remove the / from \(path: 'str', /, width"),
            (context_by_position, "'ctx' cannot be positional-only"),
            (one_is_unknown, "annotation of 'size' .* cannot be resolved"),
            (Mailer.send, "a method cannot be a handler, since nothing fills 'self'"),
            (vars(Mailer)["of_class"], "a handler is a function, and this is a classmethod"),
        ],
    )
    def test_with_file_and_line(self, function: Callable[..., Any], message: str) -> None:
        app = App()
        with pytest.raises(StartupError, match=rf"^tests\S*\.{function.__name__} \(.*\.py:\d+\): .*" + message):
            app.job("t")(function)
        assert not app.handlers

    def test_the_decorator_without_a_type(self) -> None:
        with pytest.raises(StartupError, match=r'whole \(.*\.py:\d+\): write @app\.job\("type"\)'):
            App().job(whole)  # type: ignore[arg-type]
        with pytest.raises(StartupError, match=r'app\.job\(3\): write app\.job\("type"\)'):
            App().job(3)  # type: ignore[arg-type]

    async def test_what_has_no_self_to_fill_is_no_method(self) -> None:
        for function in (Mailer().send, Mailer.of_class, Mailer.of_nobody, vars(Mailer)["of_nobody"]):
            assert (await run(function, "a")).value() == "a"
        assert (await run(functools.partial(in_a_thread, width=3), {"path": "a"})).value() == ["a", 3]


class TestEnqueued:
    @pytest.mark.parametrize(
        "payload",
        [
            sample_app.resize.payload("a.png", width=3),
            sample_app.resize.payload("a.png", 3),
            Fields(path="a.png", width=3),
        ],
    )
    def test_its_payload_is_an_object_of_its_parameters(self, payload: Fields) -> None:
        assert bytes(sample_app.resize.request(payload).payload) == b'{"path":"a.png","width":3}'

    def test_defaults_and_the_context_are_left_out(self) -> None:
        assert sample_app.crop.payload("a.png") == {"path": "a.png"}

    @pytest.mark.parametrize(
        ("arguments", "named", "message"),
        [
            (("a", 1, 2), {}, r"^image\.resize\(path: str, width: int = 200\): too many positional arguments"),
            (("a",), {"path": "b"}, "multiple values for argument 'path'"),
            (("a",), {"height": 1}, "got an unexpected keyword argument 'height'"),
            ((), {"width": 1}, "missing a required argument: 'path'"),
        ],
    )
    def test_what_its_handler_would_refuse_is_refused_at_once(
        self, arguments: tuple[Any, ...], named: dict[str, Any], message: str
    ) -> None:
        resize: Any = sample_app.resize
        with pytest.raises(TypeError, match=message):
            resize.payload(*arguments, **named)
        if not arguments:
            with pytest.raises(TypeError, match=message):
                resize.request(named)

    def test_other_payloads_say_what_to_pass(self) -> None:
        with pytest.raises(TypeError, match=r"fields \(path: str, width: int = 200\): pass payload\(\.\.\.\) of the"):
            sample_app.resize.request("a.png")
        greet: Any = sample_app.greet
        with pytest.raises(TypeError, match="one parameter takes the whole payload, so pass that to enqueue"):
            greet.payload("a")

    async def test_it_runs(self) -> None:
        async with Testing(sample_app.app) as testing:
            assert (await testing.run("image.order", "a.png")).value() == "a.png"
            assert [ran.value() for ran in await testing.run_all()] == [["a.png", 300], "a.png of image.crop"]

    def test_it_is_called_as_before(self) -> None:
        resize: Any = sample_app.resize
        assert sample_app.resize("a.png", width=1) == resize(path="a.png", width=1) == ["a.png", 1]


advised = App()


@advised.job("one")
def takes_number(number: int) -> int:
    return number


@advised.job("one.loop")
async def takes_number_in_loop(number: int, ctx: Context) -> int:
    return number


@advised.job("several")
def takes_several(path: str, width: int = 200) -> None: ...


@advised.job("many")
def takes_many(a: int, b: int, c: int, d: int, e: int, f: int) -> None: ...


ALONE = "The only parameter, 'number', takes the whole payload: send its value without {\"number\": ...}"
SEVERAL = "The payload has a field for each parameter: send"
ADVICE: list[tuple[str, object, str]] = [
    ("one", {"number": 7}, f"Expected `int`, got `object`. {ALONE}"),
    ("one.loop", {"number": 7}, f"Expected `int`, got `object`. {ALONE}"),
    ("one", {"number": 7, "other": 8}, "Expected `int`, got `object`"),
    ("one", "7", "Expected `int`, got `str`"),
    ("several", "a.png", f'Expected `object`, got `str`. {SEVERAL} {{"path": ..., "width": ...}}'),
    ("several", {"path": 3}, "Expected `str`, got `int` - at `$.path`"),
    (
        "many",
        [1],
        f'Expected `object`, got `array`. {SEVERAL} {{"a": ..., "b": ..., "c": ..., "d": ..., "e": ..., ...}}',
    ),
]


@pytest.mark.parametrize(("type", "payload", "message"), ADVICE)
async def test_a_payload_of_another_form_is_told_what_to_send(type: str, payload: object, message: str) -> None:
    async with Testing(advised) as testing:
        ran = await testing.run(type, payload)
    assert (ran.kind, ran.message) == ("payload", message)
    with pytest.raises(msgspec.ValidationError) as raised:  # as --check-payloads does
        advised.handlers[type].check(msgspec.json.encode(payload))
    assert str(raised.value) == message

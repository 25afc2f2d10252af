from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec
import pytest

from queuey.errors import StartupError
from queuey.protocol.models import Backoff
from queuey.worker.handlers.app import App, load_app
from queuey.worker.handlers.attempt import Work
from queuey.worker.handlers.context import Context, Dead, Retry

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForCheckers


class Reverse(msgspec.Struct):
    text: str


class Opaque:
    pass


class HoldsOpaque(msgspec.Struct):
    inside: list[Opaque]


class Size(TypedDict):
    width: Annotated[int, msgspec.Meta(gt=0)]


async def plain_payload(job: Any) -> None: ...
def in_thread(job: Any) -> None: ...
async def no_annotation(job, ctx):  # type: ignore[no-untyped-def]
    ...


async def with_context(job: Reverse, ctx: Context) -> OnlyForCheckers:  # the return type is nobody's business
    raise NotImplementedError


class TestAccepted:
    def test_the_function_is_called_as_before(self) -> None:
        made = App().job("t")(plain_payload)
        assert (made.function, made.type, vars(made)["__name__"]) == (plain_payload, "t", "plain_payload")
        assert inspect.signature(made) == inspect.signature(plain_payload)

    @pytest.mark.parametrize(("function", "mode"), [(plain_payload, "loop"), (in_thread, "thread")])
    def test_where_it_runs_follows_from_async(self, function: Callable[..., Any], mode: str) -> None:
        app = App()
        app.job("t")(function)
        assert app.handlers["t"].mode == mode

    def test_a_process_is_asked_for(self) -> None:
        app = App()
        app.job("t", run_in="process")(in_thread)
        assert app.handlers["t"].mode == "process"

    def test_an_object_with_an_async_call_runs_in_the_loop(self) -> None:
        class Handler:
            async def __call__(self, job: Any) -> None: ...

        app = App()
        app.job("t")(Handler())
        assert app.handlers["t"].mode == "loop"

    def test_the_payload_is_decoded_into_the_annotation(self) -> None:
        app = App()
        app.job("t")(with_context)
        handler = app.handlers["t"]
        assert handler.decode('{"text":"a"}') == Reverse("a")
        with pytest.raises(msgspec.ValidationError, match=r"at `\$\.text`"):
            handler.decode(b'{"text":1}')

    def test_a_partial(self) -> None:
        def resize(size: Any, job: Reverse) -> None: ...

        app = App()
        app.job("t")(functools.partial(resize, 3))
        assert app.handlers["t"].decode('{"text":"a"}') == Reverse("a")

    @pytest.mark.parametrize("function", [plain_payload, no_annotation])
    def test_without_a_type_the_payload_is_plain_json(self, function: Callable[..., Any]) -> None:
        app = App()
        app.job("t")(function)
        assert app.handlers["t"].decode("[1]") == [1]

    def test_a_wrapped_function_keeps_its_types(self) -> None:
        @functools.wraps(with_context)
        async def wrapper(*args: Any) -> Any: ...

        app = App()
        app.job("t")(wrapper)
        assert app.handlers["t"].decode('{"text":"a"}') == Reverse("a")

    def test_other_types_than_structs(self) -> None:
        async def sized(job: Size) -> None: ...

        app = App()
        app.job("t")(sized)
        assert app.handlers["t"].decode('{"width":1}') == {"width": 1}

    def test_options_are_kept(self) -> None:
        app = App()
        backoff = Backoff(base=1, factor=3, cap=9)
        app.job("t", queue="mail", timeout=30, max_attempts=7, backoff=backoff)(plain_payload)
        handler = app.handlers["t"]
        assert (handler.queue, handler.timeout, handler.max_attempts, handler.backoff) == ("mail", 30, 7, backoff)

    def test_the_queues_are_those_that_are_named(self) -> None:
        assert App().queues == ("default",)
        app = App()
        for type, queue in (("a", "mail"), ("b", "mail"), ("c", "video")):
            app.job(type, queue=queue)(plain_payload)
        assert app.queues == ("mail", "video")


def opaque(job: Opaque) -> None: ...
def nested_opaque(job: HoldsOpaque) -> None: ...
def two_structs(job: Reverse | dict[str, int]) -> None: ...
def unresolved(job: OnlyForCheckers) -> None: ...
def generator(job: Any) -> Any:
    yield job


async def async_generator(job: Any) -> Any:
    yield job


class TestRefused:
    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (opaque, r"Opaque'> cannot be decoded from JSON .* use a msgspec\.Struct"),
            (nested_opaque, r"HoldsOpaque'> cannot be decoded from JSON \(type .*Opaque'> is not supported\)"),
            (two_structs, r"cannot be decoded from JSON \(Type unions may not contain more than one dict-like type"),
            (unresolved, r"annotation of 'job' \(OnlyForCheckers\) cannot be resolved .* import it at run time"),
            (generator, "cannot be a generator"),
            (async_generator, "cannot be a generator"),
        ],
    )
    def test_functions(self, function: Callable[..., Any], message: str) -> None:
        app = App()
        place = rf"tests\.unit\.worker\.handlers\.test_app\.{function.__name__} \(.*test_app\.py:\d+\): "
        with pytest.raises(StartupError, match=place + ".*" + message):
            app.job("t")(function)
        assert not app.handlers

    @pytest.mark.parametrize("type", ["", ".a", "-a", "a b", "a/b", "é", "a\n", "a" * 65])
    def test_types(self, type: str) -> None:
        with pytest.raises(StartupError, match="is not a valid type: use 1 to 64 of A-Z a-z 0-9"):
            App().job(type)(plain_payload)

    def test_queues(self) -> None:
        with pytest.raises(StartupError, match="'a b' is not a valid queue:"):
            App().job("t", queue="a b")(plain_payload)

    def test_a_type_that_is_taken(self) -> None:
        app = App()
        app.job("t")(plain_payload)
        taken = r"the type 't' is already taken by .*plain_payload \(.*test_app\.py:\d+\)"
        with pytest.raises(StartupError, match=taken):
            app.job("t")(in_thread)
        assert app.handlers["t"].function is plain_payload

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"timeout": 0}, r"timeout=0: Expected `float` > 0"),
            ({"timeout": -1}, r"timeout=-1: "),
            ({"timeout": 86401}, r"timeout=86401: Expected `float` <= 86400"),
            ({"timeout": float("nan")}, r"timeout=nan: "),
            ({"timeout": True}, r"timeout=True: "),
            ({"timeout": "30"}, r"timeout='30': Expected `float \| null`, got `str`"),
            ({"max_attempts": 0}, r"max_attempts=0: Expected `int` >= 1"),
            ({"max_attempts": 1001}, r"max_attempts=1001: Expected `int` <= 1000"),
            ({"max_attempts": 1.5}, r"max_attempts=1.5: "),
            ({"backoff": 3}, r"backoff=3: "),
            ({"backoff": Backoff(base=0)}, r"backoff=.*Expected `float` > 0.* at `\$\.base`"),
            ({"backoff": Backoff(factor=0.5)}, r"at `\$\.factor`"),
            ({"backoff": Backoff(cap=86401)}, r"at `\$\.cap`"),
            ({"backoff": Backoff(base=10, cap=5)}, r"its cap \(5\) is below its base \(10\)"),
            ({"run_in": "greenlet"}, r"run_in='greenlet': it is one of"),
            ({"run_in": "thread"}, 'an async function runs in the loop: make it a plain one for run_in="thread"'),
            ({"run_in": "process"}, 'make it a plain one for run_in="process"'),
        ],
    )
    def test_options(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(StartupError, match=message):
            App().job("t", **options)(plain_payload)

    def test_a_plain_function_in_the_loop(self) -> None:
        with pytest.raises(StartupError, match="a plain function would block the loop"):
            App().job("t", run_in="loop")(in_thread)

    def test_processes_need_a_function_that_can_be_imported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def closure(job: Any) -> None: ...

        for function in (closure, lambda job: None):
            with pytest.raises(StartupError, match="needs a function at the top of a module"):
                App().job("t", run_in="process")(function)
        monkeypatch.setattr(in_thread, "__module__", "__main__")
        with pytest.raises(StartupError, match="not in __main__"):
            App().job("t", run_in="process")(in_thread)

    def test_a_lifespan_without_its_decorator(self) -> None:
        async def lifespan(app: App) -> AsyncIterator[None]:
            yield

        with pytest.raises(StartupError, match=r"decorate .*lifespan .* with contextlib\.async"):
            App(lifespan=lifespan)  # type: ignore[arg-type]
        App(lifespan=asynccontextmanager(lifespan))


class TestContext:
    def test_it_shows_the_work(self) -> None:
        ctx = Context(Work("id", "t", "mail", "{}", "17.abc", 2, 5), "state")
        assert (ctx.job_id, ctx.type, ctx.queue, ctx.token) == ("id", "t", "mail", "17.abc")
        assert (ctx.attempt, ctx.max_attempts, ctx.claims, ctx.state) == (2, 5, 17, "state")

    def test_it_is_cancelled_once_the_work_is_stopping(self) -> None:
        work = Work("id", "t", "mail", "{}", "17.abc", 2, 5)
        ctx = Context(work, None)
        assert not ctx.cancelled
        work.stopping = "timeout"
        assert ctx.cancelled

    def test_its_log_is_bound_to_the_job(self) -> None:
        ctx = Context(Work("id", "t", "mail", "{}", "17.abc", 2, 5), None)
        assert ctx.log is ctx.log
        assert ctx.log._context == {"job_id": "id", "type": "t", "attempt": 2}


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf"), 366 * 24 * 3600])
def test_retry_refuses_times_that_cannot_be(after: float) -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        Retry(after=after)


@pytest.mark.parametrize("after", [timedelta(seconds=5), "5"])
def test_retry_says_what_to_pass_in_place_of_another_type(after: Any) -> None:
    with pytest.raises(TypeError, match=r"after must be a number of seconds, not .*total_seconds"):
        Retry(after=after)


def test_reasons() -> None:
    assert (Retry("busy", after=3).reason, Retry(after=3).after, Retry().after) == ("busy", 3, None)
    assert (Dead("no such user").reason, str(Dead("no such user"))) == ("no such user", "no such user")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, empty; what a test imports from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


SHOPS = "from queuey import App\none, two = App(), App()\n"


class TestLoadApp:
    def test_from_the_current_directory(self, folder: Path) -> None:
        Path("shop.py").write_text("from queuey.worker.handlers.app import App\napp = App()\n")
        assert isinstance(load_app("shop:app"), App)

    @pytest.mark.parametrize(
        ("source", "path", "message"),
        [
            ("", "shop", r"'shop': write it as module:attribute, for example mymodule:app"),
            ("", "shop:", "write it as module:attribute"),
            ("", ":app", "write it as module:attribute"),
            ("", "shop.py:app", "there is no module 'shop.py'"),
            ("", "shop/app:app", "write it as module:attribute"),
            ("", "nothing:app", "there is no module 'nothing' in .* or among the installed packages"),
            ("", "nothing.jobs:app", "there is no module 'nothing' in"),
            ("", "shop:app", "the module 'shop' has no attribute 'app'"),
            ("app = 3", "shop:app", "it has the type int; it must be a queuey.App"),
            (SHOPS, "shop:app", r"has no attribute 'app'. Use shop:one or shop:two$"),
            (SHOPS, "shop:App", r"it must be a queuey.App. Use shop:one or shop:two$"),
            (
                "import no_such_library",
                "shop:app",
                "ModuleNotFoundError: No module named 'no_such_library'",
            ),
            ("1/0", "shop:app", "importing the module failed with ZeroDivisionError: division by zero"),
            ("def (", "shop:app", "importing the module failed with SyntaxError"),
        ],
    )
    def test_what_to_change(self, folder: Path, source: str, path: str, message: str) -> None:
        Path("shop.py").write_text(source)
        with pytest.raises(StartupError, match=message):
            load_app(path)

    def test_the_traceback_begins_in_the_users_module(self, folder: Path) -> None:
        Path("shop.py").write_text("import helper_of_shop\n")
        Path("helper_of_shop.py").write_text("\nprice = undefined\n")
        with pytest.raises(StartupError) as caught:
            load_app("shop:app")
        assert caught.value.trace == (
            "Traceback (most recent call last):\n"
            f'  File "{folder}/shop.py", line 1, in <module>\n    import helper_of_shop\n'
            f'  File "{folder}/helper_of_shop.py", line 2, in <module>\n    price = undefined\n'
            "NameError: name 'undefined' is not defined"
        )

    def test_a_bad_handler_speaks_for_itself(self, folder: Path) -> None:
        Path("shop.py").write_text(
            "from queuey.worker.handlers.app import App\napp = App()\n@app.job('a b')\ndef f(job): ...\n"
        )
        with pytest.raises(StartupError, match=r"^shop\.f \(.*shop\.py:3\): 'a b' is not a valid type:"):
            load_app("shop:app")


class TestName:
    def test_the_top_package_of_its_module(self, folder: Path) -> None:
        Path("shop").mkdir()
        Path("shop", "jobs.py").write_text("from queuey.worker.handlers.app import App\napp = App()\n")
        assert load_app("shop.jobs:app").name == "shop"
        assert App().name == ""

    def test_its_own(self, folder: Path) -> None:
        Path("shop.py").write_text("from queuey.worker.handlers.app import App\napp = App(name='till')\n")
        assert load_app("shop:app").name == "till"

    def test_a_long_one_is_cut(self, folder: Path) -> None:
        Path(f"{'s' * 80}.py").write_text("from queuey.worker.handlers.app import App\napp = App()\n")
        assert load_app(f"{'s' * 80}:app").name == "s" * 64

    @pytest.mark.parametrize("name", ["", "a b", "_a", "s" * 65])
    def test_one_that_cannot_be(self, name: str) -> None:
        with pytest.raises(StartupError, match=f"^'{name}' is not a valid name of an App: use 1 to 64"):
            App(name=name)


def test_the_examples_of_the_documentation_can_be_loaded(folder: Path) -> None:
    page = Path(__file__).parents[4] / "docs" / "handlers.md"
    examples = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    Path("mymodule.py").write_text("\n\n".join(examples), encoding="utf-8")

    app = load_app("mymodule:app")
    assert {type: handler.mode for type, handler in app.handlers.items()} == {
        "greet": "loop",
        "resize": "thread",
        "signup": "loop",
        "digest": "process",
        "mail": "loop",
        "rows.copy": "loop",
        "ship": "loop",
        "order": "loop",
        "reports.nightly": "loop",
        "reports.send": "loop",
    }
    assert list(app.schedules) == ["reports.nightly", "reports.send.eu", "reports.send.us"]
    assert app.queues == ("default", "mail", "shipping")
    assert load_app("mymodule:app_with_state").lifespan is not None


async def test_the_tests_of_the_documentation_pass(folder: Path) -> None:
    page = Path(__file__).parents[4] / "docs" / "handlers.md"
    examples = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    Path("tested.py").write_text("\n\n".join(["import queuey", *examples]), encoding="utf-8")
    load_app("tested:app")
    tests = {name: value for name, value in vars(sys.modules["tested"]).items() if name.startswith("test_")}
    assert list(tests) == ["test_an_order_is_shipped", "test_the_report_comes_at_three"]
    for test in tests.values():
        await test()


def test_the_schedules_of_the_documentation_can_be_loaded(folder: Path) -> None:
    page = Path(__file__).parents[4] / "docs" / "schedules.md"
    (example,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    Path("scheduled.py").write_text(example, encoding="utf-8")
    app = load_app("scheduled:app")
    assert list(app.schedules) == ["reports.nightly", "cache.refresh", "reports.send.eu", "reports.send.us"]


def test_the_hooks_of_the_documentation_can_be_loaded(folder: Path) -> None:
    page = Path(__file__).parents[4] / "docs" / "hooks.md"
    examples = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    Path("hooked.py").write_text("\n\n".join(examples), encoding="utf-8")
    load_app("hooked:app")

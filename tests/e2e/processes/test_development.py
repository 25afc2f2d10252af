"""`queuey dev`: new code answers once it is saved, and code that cannot start changes nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from queuey.cli.commands.project.dev import banner
from queuey.settings.settings import Settings
from tests.e2e.conftest import Serve
from tests.support.serving import Serving, eventually, queuey
from tests.support.store_users import alive

HEAD = "import asyncio, os, time\nfrom pathlib import Path\nfrom queuey import App\napp = App()\n@app.job('ask')\n"
ANSWER = HEAD + "async def ask(_: None) -> str:\n    return {!r}\n"
WAIT = (
    HEAD
    + "async def ask(_: None) -> str:\n    Path('began').touch()\n    await asyncio.Event().wait()\n    return ''\n"
)

Develop = Callable[..., Serving]


@pytest.fixture
def project(folder: Path) -> Path:
    place = folder / "project"
    place.mkdir()
    (place / "tasks.py").write_text(ANSWER.format("first"))
    return place


@pytest.fixture
def dev(serve: Serve, project: Path) -> Develop:
    def start(*flags: str, **options: object) -> Serving:
        return serve(*flags, command="dev", app="tasks:app", root=project, **options)

    return start


def answer(server: Serving) -> object:
    return server.until(server.submit("ask"))["result"]


def reloads(server: Serving, project: Path, text: str, *, count: int = 1, file: str = "tasks.py") -> list[str]:
    """Save a file, and wait until the server has been reloaded that often. Returns the files that it names."""
    (project / file).write_text(text)
    eventually(lambda: len(server.events("reloaded")) >= count, lambda: "".join(server.lines))
    return list(server.events("reloaded")[-1]["changed"])


def test_the_new_code_answers(dev: Develop, project: Path) -> None:
    server = dev()
    url = server.url
    assert answer(server) == "first"
    assert reloads(server, project, ANSWER.format("second")) == ["tasks.py"]
    assert answer(server) == "second"
    (project / "texts.py").write_text("TEXT = 'third'\n")
    imports = (
        ANSWER.format("").replace("''", "TEXT").replace("import asyncio", "from texts import TEXT\nimport asyncio")
    )
    reloads(server, project, imports, count=2)
    assert answer(server) == "third"
    assert reloads(server, project, "TEXT = 'fourth'\n", count=3, file="texts.py")
    assert answer(server) == "fourth"
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert server.stop() == 0
    assert not alive(server.store_pid)


def test_files_that_are_no_code_of_the_project_change_nothing(dev: Develop, project: Path) -> None:
    server = dev()
    (project / "venv").mkdir()
    (project / "venv" / "tasks.py").write_text("")
    (project / "notes.txt").write_text("")
    assert reloads(server, project, ANSWER.format("second")) == ["tasks.py"]
    assert len(server.events("reloaded")) == 1


def test_a_broken_module_leaves_the_old_code_running(dev: Develop, project: Path) -> None:
    server = dev()
    (project / "tasks.py").write_text(ANSWER.format("second") + "oops = undefined_name\n")
    failed = server.event("reload_failed")
    assert "NameError: name 'undefined_name' is not defined" in failed["error"]
    assert "oops = undefined_name" in failed["exception"]
    assert answer(server) == "first"
    reloads(server, project, ANSWER.format("third"))
    assert answer(server) == "third"


def test_a_module_that_is_broken_from_the_start_can_be_corrected(dev: Develop, project: Path) -> None:
    (project / "tasks.py").write_text("oops(\n")
    server = dev(until="reload_failed")
    (project / "tasks.py").write_text(ANSWER.format("second"))
    url = server.event("started")["url"]
    assert httpx.get(f"{url}/readyz").status_code == 200


def test_a_module_that_never_returns_is_given_up_for_the_next_change(dev: Develop, project: Path) -> None:
    server = dev()
    began = project / "began"
    hang = "Path('began').write_text(str(os.getpid()))\ntime.sleep(1000)\n"
    (project / "tasks.py").write_text(ANSWER.format("second") + hang)
    eventually(lambda: began.exists() and began.read_text() != "")
    assert answer(server) == "first"
    reloads(server, project, ANSWER.format("third"))
    assert answer(server) == "third"
    assert not alive(int(began.read_text()))


def test_a_job_that_runs_during_a_reload_runs_again_with_the_new_code(dev: Develop, project: Path) -> None:
    (project / "tasks.py").write_text(WAIT)
    server = dev("--drain-timeout", "0")
    job = server.submit("ask")
    eventually((project / "began").exists)
    reloads(server, project, ANSWER.format("second"))
    done = server.until(job)
    assert (done["result"], done["attempts"], done["crashes"]) == ("second", 0, 0)


def test_variables_of_the_file_env_reach_the_handlers(dev: Develop, project: Path) -> None:
    (project / ".env").write_text("GREETING=hello\nNAME=file\n")
    (project / "tasks.py").write_text(
        HEAD + "async def ask(_: None) -> str:\n    return os.environ['GREETING'] + os.environ['NAME']\n"
    )
    server = dev(variables={"NAME": "process"})
    assert answer(server) == "helloprocess"
    assert reloads(server, project, "GREETING=bye\n", file=".env") == [".env"]
    assert answer(server) == "byeprocess"


def test_a_process_that_dies_is_replaced(dev: Develop, project: Path) -> None:
    (project / "tasks.py").write_text(HEAD + "async def ask(_: None) -> None:\n    os._exit(7)\n")
    server = dev()
    server.submit("ask", max_attempts=1)
    assert server.event("process_ended")["exit_code"] == 7
    server.event("reloaded")


def test_a_second_interrupt_ends_at_once(dev: Develop, project: Path) -> None:
    (project / "tasks.py").write_text(WAIT)
    server = dev("--drain-timeout", "1h")
    server.submit("ask")
    eventually((project / "began").exists)
    server.process.send_signal(signal.SIGINT)
    assert "Ctrl-C again" in server.event("stopping")["hint"]
    server.event("draining")

    def forced() -> bool:
        if not (found := server.events("forced_exit")):
            server.process.send_signal(signal.SIGINT)
        return bool(found)

    eventually(forced)
    assert server.wait() == 1


@pytest.mark.parametrize(
    ("flags", "said"), [((), "--app: is missing"), (("--app", "a:app", "--watch", "nowhere"), "is not a directory")]
)
def test_what_is_missing_is_said(flags: tuple[str, ...], said: str) -> None:
    ended = queuey("dev", *flags)
    assert ended.returncode == 2
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("nothing:app", "there is no module 'nothing' in "),
        ("tasks:ap", "the module 'tasks' has no attribute 'ap'. Use tasks:app"),
        ("tasks:ask", "it must be a queuey.App. Use tasks:app"),
    ],
)
def test_an_app_that_is_not_there_at_the_start_ends_it(project: Path, app: str, said: str) -> None:
    ended = queuey("dev", "--app", app, "--port", "0", root=project)
    assert ended.returncode == 2, ended.stderr
    assert f"queuey: --app '{app}': " in ended.stderr
    assert said in ended.stderr
    assert not (project / ".queuey-dev").exists()


def test_an_app_that_is_not_there_any_more_waits_for_the_next_change(dev: Develop, project: Path) -> None:
    server = dev()
    (project / "tasks.py").write_text("")
    assert "has no attribute 'app'" in server.event("reload_failed")["error"]
    assert answer(server) == "first"


def test_the_console_says_where_everything_is() -> None:
    settings = Settings(app="tasks:app", data_dir=Path("/project/.queuey-dev"))
    text = banner({"version": "1.2.3", "url": "http://127.0.0.1:8000"}, settings, [Path("/project")])
    assert (
        text
        == """
Queuey 1.2.3 runs tasks:app. Press Ctrl-C to stop.

  API      http://127.0.0.1:8000/v1
  docs     http://127.0.0.1:8000/docs
  metrics  http://127.0.0.1:8000/metrics
  store    /project/.queuey-dev
  reloads  when Python code changes in /project
"""
    )

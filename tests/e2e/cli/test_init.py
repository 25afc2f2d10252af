"""`queuey init`: the project that it writes passes its own tests and mypy, and runs jobs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from queuey.cli import main
from queuey.cli.commands.project.init import FILES, LONGEST_NAME, MOST_SHOWN
from queuey.settings.settings import Settings
from tests.e2e.conftest import Serve
from tests.support.serving import ROOT, environment

Init = Callable[..., str]
TOOL_SECONDS = 50


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Init:
    """Runs a command that is refused. Returns what it prints."""

    def run(*arguments: str | Path, code: int = 1) -> str:
        assert main(["init", *map(str, arguments)]) == code
        return capsys.readouterr().err

    return run


@pytest.fixture
def project(folder: Path) -> Path:
    assert main(["init", str(folder / "shop")]) == 0
    return folder / "shop"


def files(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "tool",
    [("pytest", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio"), ("mypy", "--cache-dir", "/dev/null")],
    ids=str,
)
def test_the_project_passes_its_own_checks(project: Path, tool: tuple[str, ...]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *tool],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TOOL_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_the_project_runs_jobs(serve: Serve, project: Path, command: str) -> None:
    server = serve(app="handlers:app", root=project, command=command)
    assert server.until(server.submit("greet", {"name": "Ada"}))["result"] == "Hello, Ada"
    assert server.until(server.submit("welcome", {"name": "Ada", "to": "ada@example.com"}))["status"] == "succeeded"


def test_the_files_have_the_name_and_those_of_the_image_are_as_in_the_examples(project: Path) -> None:
    assert files(project) == sorted(FILES)
    assert 'name = "shop"' in (project / "pyproject.toml").read_text()
    assert not [file for file in FILES if "{{" in (project / file).read_text()]
    assert (project / "Dockerfile").read_text() == (ROOT / "examples/docker/Dockerfile").read_text()
    compose = yaml.safe_load((project / "compose.yaml").read_text())
    assert compose["name"] == "shop"
    grace = float(compose["services"]["queuey"]["stop_grace_period"].removesuffix("s"))
    assert grace >= Settings().drain_timeout + 5


def test_the_current_directory_may_have_a_repository(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".git").mkdir()
    (folder / ".venv").mkdir()
    monkeypatch.chdir(folder)
    assert main(["init", "--name", "shop_2"]) == 0
    assert files(folder) == sorted(FILES)
    assert 'name = "shop_2"' in (folder / "pyproject.toml").read_text()


def test_a_directory_with_files_is_refused_and_named(folder: Path, refused: Init) -> None:
    (folder / "handlers.py").write_text("mine")
    said = refused(folder, "--name", "shop")
    assert "is not empty: it has handlers.py. Nothing was written" in said
    for number in range(MOST_SHOWN):
        (folder / f"data{number}").touch()
    assert " and 1 more." in refused(folder, "--name", "shop")
    assert (folder / "handlers.py").read_text() == "mine"
    assert len(files(folder)) == 1 + MOST_SHOWN


def test_a_file_that_comes_meanwhile_is_not_overwritten(
    folder: Path, refused: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "handlers.py").write_text("mine")
    monkeypatch.setattr("queuey.cli.commands.project.init._check_empty", lambda directory: None)
    assert "handlers.py cannot be written: File exists" in refused(folder, "--name", "shop")
    assert (folder / "handlers.py").read_text() == "mine"


def test_a_place_that_is_no_directory_is_refused(folder: Path, refused: Init) -> None:
    (folder / "file").touch()
    (folder / "link").symlink_to("nowhere")
    assert "file cannot be written: Not a directory" in refused(folder / "file")
    assert "link cannot be written: File exists" in refused(folder / "link")
    assert files(folder) == ["file"]


@pytest.mark.parametrize(
    "name", ["", "A b", "Shop", "1shop", "-shop", "shop-", "sh--op", "../shop", "a" * 61, "shop\n"]
)
def test_a_name_that_packages_cannot_have_is_refused(folder: Path, refused: Init, name: str) -> None:
    assert "is not a valid name of a project" in refused(folder / "new", f"--name={name}", code=2)
    assert "is not a valid name of a project" in refused(folder / "New", code=2)
    assert not files(folder)


def test_a_name_of_a_package_that_the_project_needs_is_refused(folder: Path, refused: Init) -> None:
    assert "is the name of a package" in refused(folder / "queuey_server", code=2)
    assert main(["init", str(folder / ("a" * LONGEST_NAME))]) == 0

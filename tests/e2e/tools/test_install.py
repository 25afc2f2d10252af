"""The README's ways to install: from source and from a wheel. What is installed is complete, and runs a job.

The dependencies come from the environment of the tests, so that nothing is downloaded.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.serving import PATIENCE, ROOT, environment

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
BUILD = ("--no-deps", "--no-build-isolation")
BUILD_SECONDS = 120


def pip(*arguments: str) -> None:
    done = subprocess.run([*PIP, *arguments], capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def python(folder: Path) -> Path:
    """The interpreter of a new environment, which sees the packages of this one but no editable Queuey."""
    venv.create(folder / "venv", with_pip=False)
    interpreter = folder / "venv" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([interpreter, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


@contextmanager
def served(python: Path, folder: Path) -> Iterator[str]:
    """The URL of a server of that environment, which is started outside of the repository."""
    command: list[str | Path] = [python.parent / "queuey", "serve", "--port", "0", "--log-format", "json"]
    command += ["--data-dir", folder / "data"]
    with subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            events = (json.loads(line) for line in process.stderr if line.startswith("{"))
            yield next((event["url"] for event in events if event["event"] == "started"), "")
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            process.wait(PATIENCE)
    assert process.returncode == 0


def check(python: Path, folder: Path) -> None:
    where = subprocess.run(
        [python, "-c", "import queuey; print(queuey.__file__)"], cwd=folder, capture_output=True, text=True, check=True
    )
    package = Path(where.stdout.strip()).parent
    assert package.is_relative_to(folder.resolve()), "it is not the repository's own"
    assert {file.name for file in package.glob("lua/**/*.lua")} == {file.name for file in ROOT.glob("lua/**/*.lua")}
    with served(python, folder) as url:
        job = {"type": "text.reverse", "payload": {"text": "hello"}}
        done = httpx.post(f"{url}/v1/jobs?wait=10", json=job, timeout=PATIENCE).json()
    assert (done["status"], done["result"]) == ("succeeded", "olleh")
    subprocess.run([python.parent / "queuey", "init", folder / "shop"], check=True)
    assert (folder / "shop" / "handlers.py").is_file()
    find = "from importlib.metadata import entry_points as all; (one,) = all(group='pytest11', name='queuey')"
    plugin = subprocess.run(
        [python, "-c", f"{find}; print(one.load().__file__)"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert Path(plugin.stdout.strip()).parent == package.parent


def test_an_installation_from_source_runs_jobs(python: Path, folder: Path) -> None:
    pip("--python", str(python), "install", *BUILD, str(ROOT))
    check(python, folder)


def test_an_installation_from_the_wheel_runs_jobs(python: Path, folder: Path) -> None:
    """Built as `make wheel` does it, into another folder."""
    assert f"$(PIP) wheel {' '.join(BUILD)} --wheel-dir dist ." in (ROOT / "Makefile").read_text()
    pip("wheel", *BUILD, "--wheel-dir", str(folder / "dist"), str(ROOT))
    (wheel,) = (folder / "dist").glob("queuey_server-*.whl")
    pip("--python", str(python), "install", "--no-deps", str(wheel))
    check(python, folder)

"""The store that commands use when none is named: one for each project, and none left behind without a word."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.serving import PATIENCE, environment

FIXTURE = Path(__file__).parents[2] / "fixtures" / "export-1.ndjson"
WAYS = ("--data-dir", "move-store", "mkdir")
Ended = subprocess.CompletedProcess[str]


class Machine:
    """A home directory and a project, both with names that a shell would split."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "ann's home"
        self.project = folder / "my shop"
        self.inside = self.project / "src"
        self.old = self.home / ".local" / "share" / "queuey"
        self.new = self.project / ".queuey"
        self.home.mkdir()
        self.inside.mkdir(parents=True)
        (self.project / "pyproject.toml").touch()
        self.variables = environment(QUEUEY_DATA_DIR="", XDG_DATA_HOME="", HOME=str(self.home), QUEUEY_PORT="0")

    def queuey(self, *arguments: str) -> Ended:
        return self._run([sys.executable, "-m", "queuey", *arguments])

    def shell(self, line: str) -> Ended:
        return self._run(["/bin/sh", "-c", line])

    def _run(self, command: list[str]) -> Ended:
        return subprocess.run(
            command,
            cwd=self.inside,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """Start a server, which has started when this returns."""
        command = [sys.executable, "-m", "queuey", "serve", "--log-format", "json", *flags]
        server = subprocess.Popen(command, cwd=self.inside, env=self.variables, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        lines: list[str] = []
        for line in server.stderr:
            lines.append(line)
            if '"event":"started"' in line.replace(" ", ""):
                return server
        server.communicate(timeout=PATIENCE)
        raise AssertionError("".join(lines))

    def jobs(self, *flags: str) -> int:
        """Export the store, and count its jobs."""
        file = self.home / "export"
        file.unlink(missing_ok=True)
        ended = self.queuey("export", "-o", str(file), *flags)
        assert ended.returncode == 0, ended.stderr
        return file.read_text().count('"kind":"job"')


def end(server: subprocess.Popen[str]) -> None:
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=PATIENCE)


@pytest.fixture
def machine(folder: Path) -> Machine:
    return Machine(folder)


@pytest.fixture
def upgraded(machine: Machine) -> Machine:
    """A machine where an earlier version left a store in the home directory."""
    ended = machine.queuey("import", str(FIXTURE), "--shards", "1", "--data-dir", str(machine.old))
    assert ended.returncode == 0, ended.stderr
    return machine


@pytest.fixture
def start(machine: Machine) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    servers: list[subprocess.Popen[str]] = []

    def start(*flags: str) -> subprocess.Popen[str]:
        servers.append(machine.start(*flags))
        return servers[-1]

    yield start
    for server in servers:
        if server.poll() is None:
            end(server)


def printed(message: str) -> dict[str, str]:
    """The commands between backticks, by their last way."""
    return {next(way for way in WAYS if way in text): text for text in re.findall("`([^`]*)`", message)}


def test_a_project_has_a_store_of_its_own(machine: Machine, start: Callable[..., subprocess.Popen[str]]) -> None:
    server = start()
    assert machine.new.stat().st_mode & 0o777 == 0o700
    assert (machine.new / ".gitignore").read_text() == "*\n"
    assert not machine.old.exists()
    looked = machine.queuey("doctor")
    assert f"(private, in {machine.new})" in looked.stdout, looked.stdout
    imported = machine.queuey("import", str(FIXTURE))
    assert "servers are using this store" in imported.stderr
    end(server)
    assert machine.jobs() > 0


@pytest.mark.needs("git")
def test_git_does_not_see_it(machine: Machine) -> None:
    subprocess.run(["git", "init", "-q", str(machine.project)], env=machine.variables, check=True)
    assert machine.queuey("import", str(FIXTURE)).returncode == 0
    seen = machine.shell("git status --porcelain --untracked-files=all")
    assert (seen.returncode, seen.stdout) == (0, "?? pyproject.toml\n"), seen.stderr


@pytest.mark.parametrize("command", ["serve", "doctor", "export", "import"])
def test_a_store_that_is_left_behind_is_named(upgraded: Machine, command: str) -> None:
    arguments = {"export": ("-o", str(upgraded.home / "out")), "import": (str(FIXTURE),)}
    ended = upgraded.queuey(command, *arguments.get(command, ()))
    said = ended.stdout if command == "doctor" else ended.stderr
    assert ended.returncode == (1 if command == "doctor" else 3), said
    assert f"the former default, {upgraded.old}, holds a store" in said
    assert "pass --data-dir '" in said
    assert printed(said).keys() == {"move-store", "mkdir"}
    assert not upgraded.new.exists()


def test_the_command_that_moves_it_works_as_printed(upgraded: Machine) -> None:
    count = upgraded.jobs("--data-dir", str(upgraded.old))
    assert count > 0
    ended = upgraded.shell(printed(upgraded.queuey("serve").stderr)["move-store"])
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert not upgraded.old.exists()
    assert upgraded.jobs() == count


def test_the_other_ways_work_as_printed(upgraded: Machine, start: Callable[..., subprocess.Popen[str]]) -> None:
    said = upgraded.queuey("serve").stderr
    (flag,) = re.findall(r"pass (--data-dir .*?)\. To move", said)
    looked = upgraded.shell(f"{sys.executable} -m queuey doctor {flag}")
    assert looked.returncode == 0, looked.stdout
    assert upgraded.shell(printed(said)["mkdir"]).returncode == 0
    end(start())
    assert upgraded.jobs() == 0
    assert (upgraded.new / ".gitignore").exists()
    assert upgraded.jobs("--data-dir", str(upgraded.old)) > 0


def test_a_store_in_use_is_not_moved(upgraded: Machine, start: Callable[..., subprocess.Popen[str]]) -> None:
    move = printed(upgraded.queuey("serve").stderr)["move-store"]
    server = start("--data-dir", str(upgraded.old))
    refused = upgraded.shell(move)
    assert refused.returncode == 3
    assert f"The store in {upgraded.old} is in use. Stop every" in refused.stderr
    end(server)
    assert upgraded.shell(move).returncode == 0


def test_a_variable_or_a_redis_is_a_choice(upgraded: Machine) -> None:
    upgraded.variables["QUEUEY_DATA_DIR"] = str(upgraded.new)
    looked = upgraded.queuey("doctor")
    assert (looked.returncode, "not there yet" in looked.stdout) == (0, True), looked.stdout
    upgraded.variables["QUEUEY_DATA_DIR"] = ""
    away = upgraded.queuey("export", "--redis", "redis://127.0.0.1:1", "-o", str(upgraded.home / "out"))
    assert "The store cannot be reached" in away.stderr


def test_outside_of_a_project_the_store_at_home_is_used(upgraded: Machine) -> None:
    (upgraded.project / "pyproject.toml").unlink()
    assert upgraded.jobs() > 0


def test_a_project_far_down(folder: Path) -> None:
    """Longer than the path of a socket may be."""
    deep = folder / ("d" * 100)
    deep.mkdir()
    machine = Machine(deep)
    assert machine.queuey("import", str(FIXTURE)).returncode == 0
    assert (machine.new / "appendonlydir").is_dir()
    assert machine.jobs() > 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_project_that_cannot_be_written_to(machine: Machine) -> None:
    machine.project.chmod(0o500)
    try:
        refused = machine.queuey("serve")
    finally:
        machine.project.chmod(0o700)
    assert refused.returncode == 3
    assert f"The data directory {machine.new} cannot be used: Permission denied. Give another --data-dir." in (
        refused.stderr
    )

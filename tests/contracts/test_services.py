"""The ways of docs/operations.md to run a server as a service.

systemd, supervisord and docker give a stop the time that it needs.
The unit for systemd is valid and confines the server.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections import defaultdict
from configparser import ConfigParser
from pathlib import Path
from typing import Final

import pytest

from queuey.errors import SettingsError
from queuey.settings.settings import Settings, load
from queuey.store.embedded.store import LOADING_SECONDS, SHUTDOWN_SECONDS

ROOT: Final = Path(__file__).parents[2]
UNIT: Final = ROOT / "deploy/systemd/queuey.service"
PAGE: Final = (ROOT / "docs/operations.md").read_text()
TO_STOP: Final = Settings().drain_timeout + SHUTDOWN_SECONDS + 5
"""Seconds for the jobs that run, to stop the private Valkey, and to give back the other jobs."""
EXPOSURE: Final = 15
"""What `systemd-analyze security` may find at most, in tenths: 0 is fully confined, 100 not at all."""


def assignments(text: str) -> dict[str, list[str]]:
    found = defaultdict(list)
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name].append(value)
    return found


VALUES: Final = assignments(UNIT.read_text())


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.needs("systemd-analyze")
def test_it_is_valid(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    (command,) = VALUES["ExecStart"]
    program = command.split()[0]
    unit.write_text(UNIT.read_text().replace(f"ExecStart={program} ", f"ExecStart={sys.executable} "))
    done = analyze("verify", "--man=no", unit)
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@pytest.mark.needs("systemd-analyze")
def test_it_confines_the_server() -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", UNIT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_gives_a_stop_and_a_start_time() -> None:
    (stop,), (start,) = VALUES["TimeoutStopSec"], VALUES["TimeoutStartSec"]
    assert int(stop) >= TO_STOP
    assert int(start) > LOADING_SECONDS


def test_supervisord_asks_the_server_only_and_gives_it_time() -> None:
    (block,) = re.findall(r"^    \[program:queuey\]\n(?:    .+\n)+", PAGE, re.MULTILINE)
    config = ConfigParser()
    config.read_string(textwrap.dedent(block))
    program = config["program:queuey"]
    assert int(program["stopwaitsecs"]) >= TO_STOP
    assert (program["stopsignal"], program.getboolean("stopasgroup")) == ("TERM", False)
    assert str(SettingsError.exit_code) in program["exitcodes"].split(",")
    assert VALUES["RestartPreventExitStatus"] == [str(SettingsError.exit_code)]


def test_docker_gives_a_stop_time() -> None:
    times = [int(seconds) for seconds in re.findall(r"--(?:stop-timeout|time) (\d+)", PAGE)]
    assert len(times) >= 4
    assert min(times) >= TO_STOP


def test_a_stop_asks_the_server_only() -> None:
    """Its private Valkey would end at once, with SIGTERM to all processes."""
    assert (VALUES["KillMode"], VALUES["Type"]) == (["mixed"], ["notify"])


def test_its_data_is_in_the_directory_that_it_may_write() -> None:
    (directory,) = VALUES["StateDirectory"]
    environ = dict(value.split("=", 1) for value in VALUES["Environment"])
    settings = load({}, {name: value.replace("%S", "/var/lib") for name, value in environ.items()})
    assert settings.data_dir == Path("/var/lib", directory)
    assert VALUES["ProtectSystem"] == ["strict"]

"""Each fault once, on the real system. Only a few of them are a part of `make test`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.faults import report
from tests.faults.conductor import Plan, play
from tests.faults.faults import FAULTS
from tests.faults.system.rig import ROOT
from tests.support.session.tools import lacking

SMOKE = ("kill-server", "drop-replies")


def play_alone(name: str) -> None:
    """In a process, since all of its mounts become its own."""
    command = [sys.executable, "-m", "tests.faults", "--fault", name, "--seed", "short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.serial  # a round takes every core
@pytest.mark.parametrize(
    "name", [name if name in SMOKE else pytest.param(name, marks=pytest.mark.faults) for name in FAULTS]
)
async def test_no_job_is_lost_and_none_ends_twice(name: str) -> None:
    if missing := FAULTS[name].missing():
        lacking(f"{', '.join(missing)}, for {name}, must be installed")
    if FAULTS[name].own_mounts:
        play_alone(name)
        return
    result = await play(Plan(name, seed="short"))
    assert not result.violations, f"{report.line(1, 1, result)}\n{report.complaints(result)}"
    assert result.in_flight > 0, "the fault hit nothing"
    assert result.pulled > 0, "no pull worker had a job"
    assert result.acknowledged > 0
    assert result.ticks > 0, "no schedule had a job"

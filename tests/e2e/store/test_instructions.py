"""What a job costs the store, in instructions: the same on every machine and at every hour."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from bench.figures import instructions
from bench.targets import LATEST_INSTRUCTIONS, ROOM


@pytest.mark.needs("valgrind")
@pytest.mark.timeout(180)  # callgrind makes the store fifty times slower
async def test_a_job_costs_the_store_no_more_than_it_did(tmp_path: Path) -> None:
    """The figures are in bench/targets.py: lower them when a script has become cheaper."""
    counted = asdict(await instructions.measure(tmp_path))
    limits = {script: ROOM * latest for script, latest in LATEST_INSTRUCTIONS.items()}
    above = {script: round(count) for script, count in counted.items() if count > limits[script]}
    assert not above, f"Instructions of the store for a job, at most {limits}: {above}"

"""The load scripts ask for routes that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from queuey.api.routes.submit import SubmitJob

BENCH = Path(__file__).parents[2] / "bench"
SCRIPTS = sorted((BENCH / "k6").glob("*.js"))
CALL = re.compile(r"\bhttp\.(\w+)\(`\$\{URL\}([^`$]*)`")


def test_the_k6_scripts_ask_only_for_the_route_that_takes_a_job() -> None:
    calls = [call for script in SCRIPTS for call in CALL.findall(script.read_text(encoding="utf-8"))]
    assert calls == [(SubmitJob.method.lower(), SubmitJob.path)]


@pytest.mark.parametrize("name", ["submit", "ramp", "soak"])
def test_each_scenario_has_thresholds_and_sends_jobs(name: str) -> None:
    script = (BENCH / "k6" / f"{name}.js").read_text(encoding="utf-8")
    assert "thresholds(" in script
    assert "export default submitJob" in script

"""The thresholds of `make load`, and how its scenarios are cut into stages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.load.scenarios import Found, Scenario, Stage, broken, ramp, section, soak, submit

STAGE = Stage(10, rate=100)
SCENARIO = Scenario("a", "", (STAGE,), p95=50, p99=100)
GOOD = Found(asked=1000, answered=1000, failed=0, seconds=10, p50=1, p95=50, p99=100, max=500)


def faults(stage: Stage, found: Found) -> list[str]:
    return broken([section(SCENARIO, stage, found)])


def test_a_stage_at_its_thresholds_breaks_none() -> None:
    assert faults(STAGE, GOOD) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"p95": 50.1}, "latency, p95"),
        ({"p99": 100.1}, "latency, p99"),
        ({"answered": 998, "failed": 2}, "failed, of those sent"),
        ({"asked": 979, "answered": 979}, "sent, of those that were due"),
    ],
)
def test_each_threshold_is_told_when_it_is_broken(change: dict[str, float], name: str) -> None:
    (fault,) = faults(STAGE, replace(GOOD, **change))  # type: ignore[arg-type]
    assert name in fault


def test_a_server_that_answers_nothing_breaks_every_threshold() -> None:
    nothing = Found(asked=0, answered=0, failed=0, seconds=0, p50=None, p95=None, p99=None, max=None)
    assert len(faults(STAGE, nothing)) == 4


def test_a_closed_model_owes_no_rate() -> None:
    assert faults(Stage(10, clients=20), replace(GOOD, asked=1, answered=1)) == []


def test_the_stages_of_a_scenario_take_as_long_as_was_asked_for() -> None:
    for make in (submit, ramp, soak):
        assert sum(stage.seconds for stage in make(25).stages) == pytest.approx(25)


def test_the_ramp_only_rises() -> None:
    rates = [stage.rate for stage in ramp().stages]
    assert rates == sorted(set(rates))

"""How the state machine is run."""

from __future__ import annotations

from typing import cast

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as set_seed
from hypothesis.stateful import run_state_machine_as_test

from queuey.store.scripts import Scripts
from tests.properties.driver import Trace
from tests.properties.machine import BrokerMachine


def run_machine(
    url: str,
    shards: int,
    scripts: Scripts,
    seed: int,
    *,
    kind: type[BrokerMachine] = BrokerMachine,
    shrink: bool = True,
    trace: Trace | None = None,
) -> None:
    """Ten examples, the same ones every time. After its first ten, Hypothesis mostly varies those that it has had.

    `trace` gets what the store holds after each step."""

    def machine() -> BrokerMachine:
        return kind(url, shards, scripts, trace)

    run_state_machine_as_test(
        cast("type[BrokerMachine]", set_seed(seed)(machine)),
        settings=settings(
            max_examples=10,
            stateful_step_count=40,
            deadline=None,
            database=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        ),
    )

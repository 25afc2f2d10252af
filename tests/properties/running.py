"""How the state machine is run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, cast
from unittest import mock

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as set_seed
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.stateful import run_state_machine_as_test

from queuey.store.scripts import Scripts, lua_folder
from tests.properties.driver import Trace
from tests.properties.machine import BrokerMachine
from tests.properties.model.asides import MAX_NAMES

FEW_NAMES: Final = (4, 2)


def with_few_names(folder: Path) -> Scripts:
    """The scripts with bounds of names as small as FEW_NAMES, copied into a folder."""
    shutil.copytree(lua_folder(), folder)
    place = folder / "include/naming.lua"
    source, right = place.read_text(encoding="utf-8"), "= {}, {}, ".format(*MAX_NAMES)
    assert source.count(right) == 1, "naming.lua has changed: make its bounds small in another way"
    place.write_text(source.replace(right, "= {}, {}, ".format(*FEW_NAMES)), encoding="utf-8")
    return Scripts(folder)


def run_machine(
    url: str,
    shards: int,
    scripts: Scripts,
    seed: int,
    *,
    kind: type[BrokerMachine] = BrokerMachine,
    shrink: bool = True,
    trace: Trace | None = None,
    names: tuple[int, int] = MAX_NAMES,
) -> None:
    """Ten examples, the same ones every time. After its first ten, Hypothesis mostly varies those that it has had.

    It would also draw constants that it finds in the modules that are imported, which depend on the tests before.
    `trace` gets what the store holds after each step. `names`: the bounds of names that the scripts have."""

    def machine() -> BrokerMachine:
        return kind(url, shards, scripts, trace, names)

    with mock.patch.object(HypothesisProvider, "_maybe_draw_constant", return_value=None):
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

"""The negative controls: each takes out what it says, and the one that is quick is red."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuey.store.scripts import read_scripts
from tests.faults import report
from tests.faults.conductor import Plan, play
from tests.faults.controls.__main__ import is_expected, is_red
from tests.faults.controls.one_anchor import claim_during_move
from tests.faults.controls.variants import CONTROLS, Control, changed, patched
from tests.faults.evidence.invariants import Violation
from tests.faults.faults import FAULTS
from tests.faults.system.rig import Setup


async def test_with_two_anchors_nothing_runs_while_the_slot_moves() -> None:
    assert await claim_during_move(anchors=2) == ("TRYAGAIN", [])


async def test_with_one_anchor_a_job_is_lost() -> None:
    answer, violations = await claim_during_move(anchors=1)
    assert answer == "job 1", "job 0 was the first"
    assert [found.invariant for found in violations] == [1, 9]
    assert "was acknowledged and is waiting" in violations[0].message


@pytest.mark.parametrize("control", CONTROLS, ids=[control.name for control in CONTROLS])
def test_each_control_changes_the_system_and_names_a_fault(control: Control, tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    control.variant(setup)
    is_changed = setup.lua is not None and read_scripts(setup.lua) != read_scripts()
    assert is_changed or setup.fsync != "always" or setup.replica_environment
    assert control.fault in FAULTS


@pytest.mark.serial  # a round takes every core
async def test_a_tick_that_is_fired_without_comparing_is_noticed() -> None:
    (control,) = (control for control in CONTROLS if control.invariant == 15)
    assert await is_red(control, "short")


@pytest.mark.serial  # a round takes every core
async def test_a_tick_is_fired_once_though_two_replicas_have_read_it() -> None:
    result = await play(Plan("flush-scripts", "short", patched("late_fire")))
    assert not result.violations, report.complaints(result)
    assert result.ticks > 0


def test_a_change_that_finds_nothing_to_change_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 0 places"):
        changed(Setup(tmp_path), "claim.lua", ("no such line", ""))


def test_a_control_is_red_by_its_own_invariant_only() -> None:
    control = CONTROLS[0]
    assert is_expected(control, Violation(1, "X was acknowledged and is not in the store"))
    assert not is_expected(control, Violation(8, "X was acknowledged and is not in the store"))
    assert not is_expected(control, Violation(1, "X was acknowledged and is running"))

"""`python -m tests.faults`: what it runs, prints and answers. No round is really played."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.faults import __main__ as command
from tests.faults import conductor, report
from tests.faults.conductor import Plan, Result
from tests.faults.evidence.invariants import Violation
from tests.faults.faults.base import Fault
from tests.faults.system.rig import Timing


class First(Fault):
    name = "first"


class Second(Fault):
    name = "second"


class Toolless(Fault):
    name = "toolless"
    needs = ("sh", "no-such-tool")


class Long(Fault):
    name = "long"
    is_long = True


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The rounds that were played. One of the fault `second` finds a violation."""
    plans: list[Plan] = []

    async def play(plan: Plan) -> Result:
        plans.append(plan)
        result = Result(plan, in_flight=3, acknowledged=10, recovery=len(plans))
        if plan.fault == "second":
            result.violations = [Violation(8, "an orphan")]
            result.kept = Path("/the/folder")
        return result

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(command, "FAULTS", {fault.name: fault for fault in (First, Second, Toolless, Long)})
    monkeypatch.setattr(command, "play", play)
    return plans


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["faults", *arguments])
    return command.main()


def test_by_default_each_fault_that_can_be_is_played_once(
    played: list[Plan], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--rounds", "", "--seed", "7", "--fault", "") == 1
    assert played == [Plan("first", "7.1"), Plan("second", "7.2")]
    out, err = capsys.readouterr()
    assert "Cannot be applied: toolless needs no-such-tool." in err
    assert "invariant 8: an orphan" in out
    assert "/the/folder" in out
    assert "Not applied: toolless, which needs no-such-tool." in out


def test_where_ci_is_set_a_missing_tool_is_an_error(played: list[Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert run(monkeypatch) == 1
    assert played == []
    assert run(monkeypatch, "--fault", "first") == 0


def test_a_long_fault_is_played_when_it_is_named_or_all_are(
    played: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, "--fault", "long", "--seed", "7") == 0
    assert played == [Plan("long", "7")]
    assert run(monkeypatch, "--long", "--seed", "7") == 1
    assert [plan.fault for plan in played[1:]] == ["first", "second", "long"]


def test_rounds_without_violations_pass(
    played: list[Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    assert run(monkeypatch, "--fault", "first", "--rounds", "3", "--seed", "x", "--json", str(path)) == 0
    assert [plan.seed for plan in played] == ["x.1", "x.2", "x.3"]
    written = json.loads(path.read_bytes())
    assert written["all"] == report.figures([Result(plan, in_flight=3, acknowledged=10, recovery=3) for plan in played])
    assert [played["seed"] for played in written["rounds"]] == ["x.1", "x.2", "x.3"]
    assert "| first | 3 | 3 | 9 | 30 |" in capsys.readouterr().out


def test_a_round_is_repeated_by_its_own_seed(played: list[Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--fault", "first", "--rounds", "1", "--seed", "x.2") == 0
    assert played == [Plan("first", "x.2")]


def test_nothing_to_play_is_no_success(played: list[Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--fault", "unheard-of") == 2
    assert run(monkeypatch, "--fault", "toolless") == 1
    assert played == []


def test_jobs_with_two_crashes_take_turns() -> None:
    timing = Timing(lease=2.0, reap_interval=0.25, backoff_cap=0.4, reap_delay_max=0.3)
    assert conductor.bound(timing, replicas=2, suspects=0) == pytest.approx(4.65)
    assert conductor.bound(timing, replicas=2, suspects=5) == pytest.approx(4.65 + 2 * conductor.TURN)


async def test_an_interrupted_round_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []
    begun = asyncio.Event()

    async def go_wrong_and_wait(plan: Plan, folder: Path, result: Result) -> None:
        folders.append(folder)
        (folder / "ledger.jsonl").touch()
        result.violations = [Violation(0, "a process was left behind")]
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(conductor, "_play", go_wrong_and_wait)
    playing = asyncio.create_task(conductor.play(Plan("kill-store", "7")))
    await begun.wait()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert not folders[0].exists()

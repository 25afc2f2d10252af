"""What `make bench` measures, and what it holds each figure against."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import targets
from bench.__main__ import Found, chosen, main, measure
from bench.figures import binary
from bench.measurements import MEASUREMENTS, Line, Measurement, one, quantiles
from bench.report import Bound, MissingTool, Report, Row, Section, at_least, at_most, table
from bench.sections import NOTES
from bench.targets import Target

LINES = {line.name: line for measurement in MEASUREMENTS for line in measurement.lines}
FLOORS = {
    "drained by one process, 60,000 no-op jobs waiting": at_least(10_000),
    "the same at concurrency 256": at_least(52_000),
    "single enqueue over HTTP, 64 connections": at_least(24_000),
    "latency of a single enqueue, p99": at_most(8),
    "batch enqueue over HTTP, 1,000 a request": at_least(120_000),
    "pick-up when idle, over HTTP, p50": at_most(1.5),
    "instructions of the store, enqueue of a job": at_most(14_000),
    "claim of a job": at_most(27_000),
    "complete of a job": at_most(22_000),
    "store memory per waiting job, 100-byte payload": at_most(300),
}
STRETCH = {
    "single enqueue over bare uvicorn": at_least(0.9),
    "latency of a single enqueue, p99": at_most(5),
    "batch enqueue over HTTP, 1,000 a request": at_least(200_000),
    "claimed and completed over HTTP, 500 a lease, by 4 workers": at_least(80_000),
    "the same at concurrency 256": at_least(67_000),
    "pick-up when idle, over HTTP, p50": at_most(1.2),
    "pick-up through a long poll, both over HTTP, p50": at_most(1.6),
    "resident memory of the server and its store per waiting job": at_most(350),
    "enqueue, claim and complete": at_most(58_000),
    "longest reply": at_most(50),
}
TARGETS = {
    "single enqueue over bare uvicorn": at_least(0.8),
    "latency of a single enqueue, p99": at_most(8),
    "batch enqueue over HTTP, 1,000 a request": at_least(120_000),
    "the same at concurrency 256": at_least(52_000),
    "instructions of the store, enqueue of a job": at_most(14_000),
    "claim of a job": at_most(27_000),
    "complete of a job": at_most(22_000),
    "enqueue, claim and complete": at_most(63_000),
    "pick-up when idle, enqueued in process, p50": at_most(1.0),
    "pick-up when idle, enqueued in process, p99": at_most(2.5),
    "pick-up when idle, over HTTP, p50": at_most(1.5),
    "pick-up when idle, over HTTP, p99": at_most(4),
    "claimed and completed over HTTP, 500 a lease, by 4 workers": at_least(20_000),
    "pick-up through a long poll, both over HTTP, p50": at_most(1.9),
    "pick-up through a long poll, both over HTTP, p99": at_most(4),
    "lateness of scheduled jobs, p99": at_most(20),
    "store CPU of a job's whole life, batches of 100, fsync always": at_most(25),
    "store CPU of a job's whole life, batches of 250, fsync always": at_most(20),
    "store memory per waiting job, 100-byte payload": at_most(290),
    "store memory per finished job, 100-byte payload and result": at_most(600),
    "1,000,000 waiting over 1,000 waiting": at_least(0.8),
    "commands that an idle replica sends": at_most(3),
    "CPU of an idle replica": at_most(1),
    "two over one, 1 ms of CPU a job": at_least(1.7),
    "size of the binary": at_most(60),
    "first job, at a first start of the binary": at_most(1.5),
    "first job, at a later start of the binary": at_most(1),
    "fired, due over a minute": at_least(10_000),
    "fired, due at one moment": at_least(10_000),
    "from the tick to the job p99, due over a minute": at_most(2_000),
    **{
        f"share of the threads' most, 10 ms, mixed, {slots} slots": at_least(0.95)
        for slots in ("2 + 20", "8 + 100", "40 + 100")
    },
}


async def nothing(folder: Path) -> Sequence[float]:
    return ()


def test_names_are_unique_and_every_section_says_how_it_was_measured() -> None:
    names = [measurement.name for measurement in MEASUREMENTS]
    assert len(set(names)) == len(names)
    assert {measurement.section for measurement in MEASUREMENTS} == {name for name, note in NOTES.items() if note}


def test_the_floors_and_targets_are_those_that_were_promised() -> None:
    assert {name: line.held_to.floor for name, line in LINES.items() if line.held_to.floor} == FLOORS
    assert {name: line.held_to.must for name, line in LINES.items() if line.held_to.must} == TARGETS
    assert {name: line.held_to.stretch for name, line in LINES.items() if line.held_to.stretch} == STRETCH


def test_every_target_is_that_of_a_line() -> None:
    held = [line.held_to for measurement in MEASUREMENTS for line in measurement.lines]
    unused = [name for name, target in vars(targets).items() if isinstance(target, Target) and target not in held]
    assert unused == []


def test_the_numbers_of_each_run_become_rows() -> None:
    measurement = Measurement("m", "s", nothing, [Line("a", "jobs/s", Target(at_least(2))), Line("b", "ms")])
    first, second = measurement.rows([(1, 10), (3, 30), (2, 20)])
    assert (first.name, list(first.values), first.median, first.verdict) == ("a", [1, 3, 2], 2, "met")
    assert (second.name, list(second.values), second.verdict) == ("b", [10, 30, 20], "")


async def test_a_single_number_and_many_times_as_figures() -> None:
    async def number(folder: Path) -> float:
        return 7.0

    async def times(folder: Path) -> Sequence[float]:
        return [number / 1000 for number in range(1, 100)]

    assert await one(number)(Path()) == (7.0,)
    assert await quantiles(times)(Path()) == pytest.approx((50, 99))


def test_a_name_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--only", "speed"])
    with pytest.raises(SystemExit):
        main()
    assert "invalid choice: 'speed'" in capsys.readouterr().err


def run_with(
    monkeypatch: pytest.MonkeyPatch,
    *flags: str,
    rows: Sequence[Row] = (),
    missing: dict[str, str] | None = None,
    skipped: dict[str, str] | None = None,
) -> int:
    """The exit code of the command where these rows were found."""

    async def found(measurements: Sequence[Measurement], runs: int) -> Found:
        return Found([Section("Speed", list(rows))], missing or {}, skipped or {})

    monkeypatch.setattr("bench.__main__.measure", found)
    monkeypatch.setattr("bench.cores.pin", lambda pid, where: None)
    monkeypatch.setattr("sys.argv", ["bench", *flags, "--only", "single"])
    return main()


def test_a_figure_below_its_floor_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    below = Row("a rate", "jobs/s", [9], floor=at_least(10))
    assert run_with(monkeypatch, "--check", rows=[below]) == 1
    assert "below the floor: a rate: 9.00, floor >= 10.0" in capsys.readouterr().err
    assert run_with(monkeypatch, rows=[below]) == 0


def test_a_missed_target_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    missed = Row("a rate", "jobs/s", [11], at_least(20), at_least(10), at_least(30))
    assert run_with(monkeypatch, "--check", rows=[missed]) == 0


def test_a_figure_that_could_not_be_measured_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = {"instructions": "valgrind is missing."}
    assert run_with(monkeypatch, "--check", missing=missing) == 1
    assert "instructions: not measured: valgrind is missing." in capsys.readouterr().err
    assert run_with(monkeypatch, missing=missing) == 0


# --- the verdicts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "target", "stretch", "verdict"),
    [
        (9, at_least(8), None, "met"),
        (7, at_least(8), None, "missed"),
        (7, at_least(8), at_least(10), "missed"),
        (9, at_least(8), at_least(10), "met, stretch missed"),
        (10, at_least(8), at_least(10), "stretch met"),
        (6, at_most(8), at_most(5), "met, stretch missed"),
        (49, None, at_most(50), "stretch met"),
        (51, None, at_most(50), "stretch missed"),
        (49, None, None, ""),
    ],
)
def test_a_figure_is_held_to_both_targets(
    value: float, target: Bound | None, stretch: Bound | None, verdict: str
) -> None:
    assert Row("a", "b", [value], target, stretch=stretch).verdict == verdict


def test_the_table_shows_both_targets_and_the_verdict() -> None:
    rows = [Row("a", "jobs/s", [9], at_least(8), stretch=at_least(10)), Row("b", "ms", [1])]
    assert table(rows).splitlines() == [
        "| what | unit | median | lowest | highest | runs | target | stretch | |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | --- | --- |",
        "| a | jobs/s | 9.00 | 9.00 | 9.00 | 1 | >= 8.00 | >= 10.0 | met, stretch missed |",
        "| b | ms | 1.00 | 1.00 | 1.00 | 1 |  |  |  |",
    ]


def test_a_table_without_stretch_targets_has_no_column_for_them() -> None:
    assert "stretch" not in table([Row("a", "jobs/s", [9], at_least(8))])


def test_the_json_has_every_bound_and_the_verdict() -> None:
    row = Row("a", "ms", [6], at_most(8), at_most(8), at_most(5))
    (section,) = Report("r", "t", [Section("s", [row])]).as_json()["sections"]
    (figure,) = section["figures"]
    found = {name: figure[name] for name in ("target", "stretch", "floor", "verdict")}
    assert found == {"target": "<= 8.00", "stretch": "<= 5.00", "floor": "<= 8.00", "verdict": "met, stretch missed"}


# --- what is measured -------------------------------------------------------------------------------------------------


def test_some_are_only_measured_when_they_are_named() -> None:
    assert not {"pauses", "mixed", "handler-loops", "schedules"} & {one.name for one in chosen(None, None)}
    assert [one.name for one in chosen(["pauses"], 10)] == ["pauses"]
    assert len(chosen(None, None)) == len(MEASUREMENTS) - 4


async def test_what_lacks_a_tool_is_reported_and_the_others_are_measured() -> None:
    async def lacks(folder: Path) -> Sequence[float]:
        raise MissingTool("valgrind is missing.")

    async def works(folder: Path) -> Sequence[float]:
        return (1.0,)

    section = next(iter(NOTES))
    found = await measure(
        [Measurement("a", section, lacks, [Line("a", "ms")]), Measurement("b", section, works, [Line("b", "ms")])], 2
    )
    assert found.missing == {"a": "valgrind is missing."}
    assert [row.name for part in found.sections for row in part.rows] == ["b"]


def test_a_binary_that_is_not_built_is_skipped_and_fails_no_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(binary, "FILE", tmp_path / "queuey")
    found = asyncio.run(measure([one for one in MEASUREMENTS if one.name == "binary"], 2))
    assert found == Found([], {}, {"binary": "dist/queuey is not built: make binary"})
    assert run_with(monkeypatch, "--check", skipped=found.skipped) == 0
    assert "binary: not measured: dist/queuey is not built: make binary" in capsys.readouterr().err

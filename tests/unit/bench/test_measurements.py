"""What `make bench` measures, and what it holds each figure against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.measurements import MEASUREMENTS, NOTES, Line, Measurement, one, quantiles
from bench.report import at_least, at_most

LINES = {line.name: line for measurement in MEASUREMENTS for line in measurement.lines}
FLOORS = {
    "drained by one process, 20,000 no-op jobs waiting": at_least(10_000),
    "single enqueue over HTTP, 64 connections": at_least(6_000),
    "store memory per waiting job, 100-byte payload": at_most(300),
}
TARGETS = {
    "batch enqueue over HTTP, 1,000 a request": at_least(50_000),
    "pick-up when idle, enqueued in process, p50": at_most(1.0),
    "pick-up when idle, enqueued in process, p99": at_most(2.5),
    "pick-up when idle, over HTTP, p50": at_most(1.5),
    "pick-up when idle, over HTTP, p99": at_most(4),
    "claimed and completed over HTTP, 500 a lease, by 4 workers": at_least(20_000),
    "pick-up through a long poll, both over HTTP, p50": at_most(1.5),
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
}


async def nothing(folder: Path) -> Sequence[float]:
    return ()


def test_names_are_unique_and_every_section_says_how_it_was_measured() -> None:
    names = [measurement.name for measurement in MEASUREMENTS]
    assert len(set(names)) == len(names)
    assert {measurement.section for measurement in MEASUREMENTS} == {name for name, note in NOTES.items() if note}


def test_the_floors_and_targets_are_those_that_were_promised() -> None:
    assert {name: line.floor for name, line in LINES.items() if line.floor} == FLOORS
    assert {name: line.target for name, line in LINES.items() if line.target} == TARGETS


def test_the_numbers_of_each_run_become_rows() -> None:
    measurement = Measurement("m", "s", nothing, [Line("a", "jobs/s", at_least(2)), Line("b", "ms")])
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

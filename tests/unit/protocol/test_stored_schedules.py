"""The records and the histories of schedules, as text."""

from __future__ import annotations

import pytest

from queuey.protocol.stored.schedules import Run, is_record, is_run, to_run, to_schedule

JOB = "0001M85W2WTH5WPF3M1CF0E9CA0Z"
RECORD = f'u=U1 v=3 a=7 n=5 d=8 t=4 j={JOB} p=4 i={JOB} k=tick P=9 c=1 m=2\n{{"by":"a"}}\n{{"cron":"x",\n"y":1}}'


def test_a_record_is_a_schedule() -> None:
    found = to_schedule("report", RECORD)
    assert (found.name, found.uid, found.version, found.mark) == ("report", "U1", 3, "U1.3")
    assert (found.created_ms, found.replaced_ms, found.next_ms, found.last_tick_ms) == (1, 2, 5, 4)
    assert (found.anchor_ms, found.due_ms) == (7, 8)
    assert (found.last_job, found.pending_ms, found.pending_job, found.pending_kind) == (JOB, 4, JOB, "tick")
    assert (found.paused_ms, found.pause, found.spec) == (9, '{"by":"a"}', '{"cron":"x",\n"y":1}')


def test_what_is_absent_is_none() -> None:
    found = to_schedule("report", "u=U1 v=1 a=7\n\n{}")
    assert (found.due_ms, to_schedule("report", "u=U1 v=1 a=7 n=5\n\n{}").due_ms) == (-1, 5)
    times = found.created_ms, found.replaced_ms, found.next_ms, found.last_tick_ms, found.pending_ms, found.paused_ms
    assert set(times) == {-1}
    assert (found.last_job, found.pending_job, found.pending_kind, found.pause) == ("", "", "", "")


def test_a_line_is_a_run() -> None:
    assert to_run(f"1 2 tick fired {JOB} 1") == Run(1, 2, "tick", "fired", JOB, 1)
    assert to_run("1 2 tick missed - 7") == Run(1, 2, "tick", "missed", "", 7)


@pytest.mark.parametrize("text", [RECORD, "u=U1 v=1 a=7\n\n{}", "u=U1 v=1 a=7 Z=letter\n\n"])
def test_records(text: str) -> None:
    assert is_record(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "u=U1 v=1 a=7", "u=U1 v=1 a=7\n{}", "u=U1 a=7\n\n{}", "v=1 a=7\n\n{}", "u=U1 v=1\n\n{}"),
        *("u=U1 v=x a=7\n\n{}", "u=U1 v=1 a=x\n\n{}", "u=U1 v=1 a=7 n=-1\n\n{}", "u=U1 v=1 a=7 d=5\n\n{}"),
        *("u=U1 v=1 a=7 p=1\n\n{}", "u=U1 v=1 a=7 p=1 i=x\n\n{}", "u=U1 v=1 a=7 bad\n\n{}", " u=U1 v=1 a=7\n\n{}"),
    ],
)
def test_what_is_no_record(text: str) -> None:
    assert not is_record(text)


@pytest.mark.parametrize(
    "line", ["", "1 2 tick fired", "x 2 tick fired - 1", "1 2 tick fired j 1", "1 2 tick Fired - 1"]
)
def test_what_is_no_run(line: str) -> None:
    assert is_run("1 2 tick fired - 1")
    assert not is_run(line)

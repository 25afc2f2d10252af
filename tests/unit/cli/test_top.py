"""The screen of `queuey top` from two frames."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

from queuey.cli.commands.top import MOST_QUEUES, Frame, drawn, finished_rate
from queuey.cli.output import console
from queuey.protocol.models import Queue, WorkerInfo

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def queue(name: str, *, waiting: int = 0, running: int = 0, finished: int = 0, dead: int = 0) -> Queue:
    return Queue(
        name=name,
        paused=False,
        high=0,
        default=waiting,
        low=0,
        scheduled=0,
        running=running,
        dead_letter=dead,
        finished=finished,
        paused_by=None,
        pause_reason=None,
        paused_at=None,
        oldest_age=None,
        workers=[],
    )


def worker(name: str, busy: int, slots: int, *, gone: bool = False) -> WorkerInfo:
    return WorkerInfo(
        name=name,
        replica=name,
        kind="process",
        slots=slots,
        busy=busy,
        jobs=[],
        queues=["default"],
        types=[],
        last_seen=NOW,
        quiet=False,
        started_at=NOW,
        version="1",
        gone=gone,
    )


def shown(frame: Frame, before: Frame | None = None, trouble: str = "") -> list[str]:
    out = io.StringIO()
    screen = console(out)
    screen.print(drawn(frame, before, screen.width, trouble))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_first_line_sums_up() -> None:
    workers = [worker("w", 3, 100), worker("dead", 5, 100, gone=True)]
    frame = Frame(NOW, [queue("a", waiting=1200, running=3), queue("b", waiting=34)], workers)
    assert shown(frame)[0] == "12:00:00Z  1,234 waiting, 0 scheduled, 3 running; 3 of 100 slots busy"
    before = Frame(NOW - timedelta(seconds=2), [queue("a")], [])
    later = Frame(NOW, [queue("a", finished=20, dead=4), queue("new", finished=6)], [])
    assert "15 finished a second" in shown(later, before)[0]


def test_queues_from_which_jobs_were_trimmed_do_not_count() -> None:
    before = Frame(NOW - timedelta(seconds=1), [queue("a", finished=1000), queue("b", finished=1)], [])
    assert finished_rate(before, Frame(NOW, [queue("a", finished=5), queue("b", finished=4)], [])) == 3.0
    assert finished_rate(before, Frame(before.at, [queue("b", finished=4)], [])) == 0.0


def test_the_busiest_queues_come_first_and_the_rest_is_counted() -> None:
    frame = Frame(NOW, [queue(f"q{n}", waiting=n) for n in range(MOST_QUEUES + 2)], [])
    lines = shown(frame)
    names = [line.split()[0] for line in lines if line.startswith("q")]
    assert names == [f"q{n}" for n in range(MOST_QUEUES + 1, 1, -1)]
    assert "and 2 more queues" in lines


def test_trouble_is_shown() -> None:
    assert "the server is away" in shown(Frame(NOW, [], []), trouble="the server is away")

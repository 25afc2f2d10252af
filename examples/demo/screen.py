"""The output of the demo: bars and tables in a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from examples.demo.figures import Figures, Spread

PIPE_WIDTH = 120


class Bar:
    """A progress bar. `to` sets how much is done; `note` is a short text after the bar."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total, note="")

    def advance(self, steps: int = 1) -> None:
        self._progress.advance(self._task, steps)

    def to(self, done: int, note: str = "") -> None:
        self._progress.update(self._task, completed=done, note=note)


class Screen:
    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.is_terminal = self.console.is_terminal
        if not self.is_terminal:
            self.console.width = PIPE_WIDTH

    def say(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style), soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """Show a bar while the block runs, then one line with the time that it took."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
        )
        started = time.monotonic()
        with Progress(*columns, console=self.console, transient=True, disable=not self.is_terminal) as progress:
            yield Bar(progress, title, total)
        self.say(f"{title}: {total} in {time.monotonic() - started:.1f} s")

    def table(self, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table, without a heading if all titles are empty."""
        table = Table(
            title=Text(title, "bold"),
            title_justify="left",
            box=box.ROUNDED if self.is_terminal else None,
            show_header=any(headings),
        )
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self.console.print()
        self.console.print(table)
        self.console.print()

    def figures(self, figures: Figures) -> None:
        succeeded, dead = figures.statuses["succeeded"], figures.statuses["dead_letter"]
        self.table(
            "How it went",
            ("", ""),
            (
                ("jobs", f"{figures.statuses.total()}: {succeeded} succeeded, {dead} dead-lettered"),
                ("jobs/s", f"{figures.jobs_per_second:.1f} over {figures.seconds:.1f} s"),
                ("waiting", _spread(figures.wait)),
                ("running", _spread(figures.run)),
                ("retries", str(figures.retries)),
                ("crashes", str(figures.crashes)),
            ),
        )


def _spread(spread: Spread) -> str:
    return f"p50 {_seconds(spread.p50)}   p95 {_seconds(spread.p95)}   max {_seconds(spread.longest)}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"

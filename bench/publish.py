"""`python -m bench.publish`: put the last results into the documentation, as tables and as pictures.

It copies bench/results/*.json to docs/figures/, draws the pictures there and writes the tables into
docs/performance.md, all from the same file, so that a picture and its table cannot differ. Results of a checkout with
uncommitted changes are refused: the commit that the page names must be the one that was measured.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import pictures
from bench.peers.brokers.report import MEASURED
from bench.report import RESULTS, grid, number
from bench.saved import Figure, Results, read

DOCS: Final = Path(__file__).parent.parent / "docs"
FIGURES: Final = "figures"
"""The folder of the results and the pictures in docs."""
NOTHING: Final = "No run is published yet."
DRAINS: Final = ("Drain by one worker process", "Pick-up when idle, p50")


@dataclass(frozen=True)
class Page:
    """What the results of one benchmark become: pictures by name, and a table."""

    pictures: Mapping[str, Callable[[Results], str]]
    alt: Mapping[str, str]
    table: Callable[[Results], str]


def targets_table(results: Results) -> str:
    """Each figure with a target."""
    rows = [
        [figure.name, figure.unit, figure.target or "", figure.stretch or "", _measured(figure), figure.verdict or ""]
        for figure in results.figures
        if figure.target or figure.stretch or figure.floor
    ]
    return grid(["what", "unit", "target", "stretch", "measured", ""], rows)


def brokers_table(results: Results) -> str:
    """A row for each broker, with the median of each figure and where an acknowledged job is."""
    parts = [part for _, heading, _ in MEASURED if (part := results.part(heading)) is not None]
    names = list(dict.fromkeys(figure.name for part in parts for figure in part.figures))
    rows = []
    for name in names:
        own = [next((figure for figure in part.figures if figure.name == name), None) for part in parts]
        marks = {figure.mark for figure in own if figure}
        cells = [number(statistics.median(figure.values)) if figure else "n/a" for figure in own]
        rows.append([name, *cells, ", ".join(pictures.MARKS.get(mark, "") for mark in sorted(marks))])
    heads = [f"{part.heading}, {part.figures[0].unit}" for part in parts]
    return grid(["", *heads, "an acknowledged job is"], rows)


def _measured(figure: Figure) -> str:
    low, high = min(figure.values), max(figure.values)
    spread = f" ({number(low)} to {number(high)})" if len(figure.values) > 1 else ""
    return number(figure.median) + spread


PAGES: Final = {
    "queuey": Page(
        {"targets": pictures.targets}, {"targets": "How far each figure of Queuey reaches its target"}, targets_table
    ),
    "peers": Page(
        {
            "brokers": lambda results: pictures.panels(
                "Queuey and other brokers", results, [heading for _, heading, _ in MEASURED]
            ),
            "drain": lambda results: pictures.panels("Queuey and other job queues", results, DRAINS),
        },
        {
            "brokers": "Queuey beside other brokers: rates and latencies",
            "drain": "Queuey beside other job queues: drain and pick-up",
        },
        brokers_table,
    ),
}
"""By the name of the results."""


def block(name: str, results: Results) -> str:
    """What docs/performance.md has of these results: the pictures, the table, and where they come from."""
    page = PAGES[name]
    shown = [f"![{page.alt[picture]}]({FIGURES}/{picture}.svg)" for picture in page.pictures]
    return "\n\n".join([*shown, f"{results.title}. {results.machine}.", page.table(results)])


def with_block(text: str, name: str, content: str) -> str:
    """The page with this content between the marks of a benchmark. Raises ValueError when the marks are missing."""
    pattern = re.compile(rf"(<!-- figures: {name} -->\n).*?(\n<!-- end of figures -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no marks for the figures of {name}")
    return pattern.sub(lambda match: f"{match[1]}\n{content}\n{match[2]}", text)


def block_of(text: str, name: str) -> str:
    """What stands between the marks."""
    found = re.search(rf"<!-- figures: {name} -->\n(.*?)\n<!-- end of figures -->", text, re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no marks for the figures of {name}")
    return found[1].strip()


def publish(saved: Path, docs: Path, allow_changes: bool = False) -> list[str]:
    """Publish what there is in `saved`. Returns the names. Raises ValueError for results of uncommitted changes."""
    figures = docs / FIGURES
    page = docs / "performance.md"
    published = []
    for name in PAGES:
        source = saved / f"{name}.json"
        if not source.exists():
            continue
        results = read(source)
        if re.search(r"commit \w+\+", results.machine) and not allow_changes:
            raise ValueError(f"{source.name} was measured with uncommitted changes: commit them and measure again")
        figures.mkdir(exist_ok=True)
        (figures / source.name).write_bytes(source.read_bytes())
        for picture, draw in PAGES[name].pictures.items():
            (figures / f"{picture}.svg").write_text(draw(results))
        page.write_text(with_block(page.read_text(), name, block(name, results)))
        published.append(name)
    return published


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.publish", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--allow-changes", action="store_true", help="also results of uncommitted changes, to try it")
    arguments = parser.parse_args()
    try:
        published = publish(RESULTS, DOCS, arguments.allow_changes)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if not published:
        print("There are no results: run make bench or make bench-peers first.", file=sys.stderr)
        return 1
    print(f"published: {', '.join(published)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

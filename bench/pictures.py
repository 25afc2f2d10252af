"""Draws results as SVG, in light and dark by the reader's own setting. The same results give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from bench.report import number
from bench.saved import Figure, Part, Results, bound

WIDTH: Final = 880
LEFT: Final = 16
BARS_FROM: Final = 420
BARS_TO: Final = 670
ROW: Final = 24
TOP: Final = 44
PANEL_GAP: Final = 22
MOST_SHARE: Final = 2.0
"""A bar that is longer than this many targets is cut there."""
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
STYLE: Final = """\
  <style>
    text { fill: #1f2328; }
    .small { fill: #57606a; font-size: 12px; }
    .line { stroke: #57606a; stroke-width: 1.5; }
    .range { stroke: #1f2328; stroke-width: 1.5; }
    .stretch { stroke: #8250df; stroke-width: 2; stroke-dasharray: 4 2; }
    .met { fill: #4ac26b; }
    .missed { fill: #e8893c; }
    .disk { fill: #0969da; }
    .buffers { fill: #54aeff; }
    .memory { fill: #afb8c1; }
    .plain { fill: #54aeff; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .small { fill: #9198a1; }
      .line { stroke: #9198a1; }
      .range { stroke: #e6edf3; }
      .stretch { stroke: #ab7df8; }
      .met { fill: #238636; }
      .missed { fill: #bd561d; }
      .disk { fill: #1f6feb; }
      .buffers { fill: #264f8c; }
      .memory { fill: #57606a; }
      .plain { fill: #264f8c; }
    }
  </style>"""
MARKS: Final = {
    "disk": "on disk",
    "buffers": "in the kernel's buffers",
    "memory": "in memory",
}
"""The colour of a bar, and what the job's acknowledgement means then."""


@dataclass(frozen=True)
class _Bar:
    """A row of a picture. Lengths are shares of the space for bars; `low` and `high` are those of the runs."""

    name: str
    text: str
    colour: str
    length: float
    low: float
    high: float
    stretch: float | None = None


def targets(results: Results) -> str:
    """How far each figure with a target reaches: the upright line is the target, whether more or less is better."""
    bars = [bar for figure in results.figures if (bar := _target_bar(figure)) is not None]
    line = BARS_FROM + (BARS_TO - BARS_FROM) / MOST_SHARE
    height = TOP + ROW * len(bars) + 64
    foot = TOP + ROW * len(bars)
    parts = [
        *_rows(bars, TOP),
        f'<line class="line" x1="{line:.1f}" y1="{TOP - 6}" x2="{line:.1f}" y2="{foot}"/>',
        _text(line, TOP - 12, "target", "small", "middle"),
        _text(
            LEFT,
            foot + 20,
            "Beyond the line is better. Dashed: the stretch target. Thin: all runs.",
            "small",
        ),
        _text(LEFT, foot + 40, results.machine, "small"),
    ]
    return _svg("Queuey's figures and their targets", _described(bars), height, parts)


def _target_bar(figure: Figure) -> _Bar | None:
    held_to = figure.target or figure.stretch or figure.floor
    if held_to is None or figure.median == 0:
        return None
    sign, goal = bound(held_to)

    def share(value: float) -> float:
        ratio = value / goal if sign == ">=" else goal / value if value else MOST_SHARE
        return min(ratio, MOST_SHARE) / MOST_SHARE

    reached = share(figure.median) * MOST_SHARE >= 1
    words = f"{number(figure.median)} {figure.unit} ({held_to})"
    ends = sorted(map(share, (min(figure.values), max(figure.values))))
    stretch = share(bound(figure.stretch)[1]) if figure.stretch and figure.target else None
    return _Bar(figure.name, words, "met" if reached else "missed", share(figure.median), *ends, stretch)


def panels(title: str, results: Results, headings: Sequence[str]) -> str:
    """A panel of bars for each of these sections, one row a figure, its longest bar as wide as there is room."""
    parts: list[str] = []
    described: list[_Bar] = []
    at = TOP
    marks: set[str] = set()
    for heading in headings:
        part = results.part(heading)
        if part is None or not part.figures:
            continue
        bars = _part_bars(part)
        parts += [_text(LEFT, at, f"{heading}, {part.figures[0].unit}", weight="600"), *_rows(bars, at + 8)]
        at += 8 + ROW * len(bars) + PANEL_GAP
        described += bars
        marks |= {figure.mark for figure in part.figures}
    parts += _legend(at, [mark for mark in MARKS if mark in marks])
    parts.append(_text(LEFT, at + 24, results.machine, "small"))
    return _svg(title, _described(described), at + 44, parts)


def _part_bars(part: Part) -> list[_Bar]:
    most = max(max(figure.values) for figure in part.figures)
    return [
        _Bar(
            figure.name,
            number(figure.median),
            figure.mark or "plain",
            figure.median / most,
            min(figure.values) / most,
            max(figure.values) / most,
        )
        for figure in part.figures
    ]


def _rows(bars: Sequence[_Bar], top: float) -> Iterator[str]:
    room = BARS_TO - BARS_FROM
    for row, bar in enumerate(bars):
        at = top + ROW * row
        middle = at + ROW / 2
        yield _text(LEFT, middle + 4, bar.name, size=12)
        width = max(1.0, room * bar.length)
        yield f'<rect class="{bar.colour}" x="{BARS_FROM}" y="{at + 4}" width="{width:.1f}" height="{ROW - 8}" rx="2"/>'
        low, high = BARS_FROM + room * bar.low, BARS_FROM + room * bar.high
        yield f'<line class="range" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>'
        if bar.stretch is not None:
            at_x = BARS_FROM + room * bar.stretch
            yield f'<line class="stretch" x1="{at_x:.1f}" y1="{at + 2}" x2="{at_x:.1f}" y2="{at + ROW - 2}"/>'
        yield _text(BARS_TO + 10, middle + 4, bar.text, size=12)


def _legend(at: float, marks: Sequence[str]) -> Iterator[str]:
    """What the colours mean, on one line."""
    if not marks:
        return
    yield _text(LEFT, at, "A job that is acknowledged is:", "small")
    for place, mark in enumerate(marks):
        x = 220 + 190 * place
        yield f'<rect class="{mark}" x="{x}" y="{at - 11}" width="14" height="14" rx="2"/>'
        yield _text(x + 20, at, MARKS[mark], "small")


def _described(bars: Sequence[_Bar]) -> str:
    """For those who hear the picture."""
    return "; ".join(f"{bar.name}: {bar.text}" for bar in bars)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "", weight: str = "", size: int = 0) -> str:
    values = {"class": kind, "text-anchor": anchor, "font-weight": weight, "font-size": str(size or "")}
    flags = "".join(f' {name}="{value}"' for name, value in values.items() if value)
    return f'<text x="{x:g}" y="{y:g}"{flags}>{escape(words, quote=False)}</text>'


def _svg(title: str, description: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-labelledby="title description" font-family="{FONT}" font-size="14">'
    )
    words = [f'  <title id="title">{escape(title)}</title>', f'  <desc id="description">{escape(description)}</desc>']
    return "\n".join([head, *words, STYLE, *(f"  {part}" for part in parts), "</svg>"]) + "\n"

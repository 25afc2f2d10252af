"""The output of commands: tables for people, JSON for programs.

    table   columns, or a line for each field; cut to the width of a terminal, uncut elsewhere
    json    one document, indented
    jsonl   one document a line, as it arrives

Values may come from untrusted jobs, so tables escape all control sequences.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import msgspec
from msgspec import UNSET, Raw, Struct

Format = Literal["table", "json", "jsonl"]

STYLES: Final = {
    "succeeded": "green",
    "running": "cyan",
    "scheduled": "blue",
    "dead_letter": "red",
    "cancelled": "yellow",
    "paused": "yellow",
}
_GAP: Final = "  "
_MAX_CELL: Final = 200
_UNLIMITED: Final = 1_000_000


def show(item: Struct, form: Format, stream: TextIO | None = None) -> None:
    """Print one item, to stdout by default. As a table, it has a line for each field that is not empty."""
    stream = stream or sys.stdout
    if form == "table":
        _print_fields(item, stream)
    elif form == "json":
        write(msgspec.json.format(msgspec.json.encode(item), indent=2), stream)
    else:
        write(msgspec.json.encode(item), stream)


def show_all(items: Sequence[Struct], columns: Sequence[str], form: Format) -> None:
    """Print several items. As a table, it has a column for each of these fields, and titles also without items."""
    if form == "table":
        _print_table(items, columns)
    elif form == "json":
        write(msgspec.json.format(msgspec.json.encode(items), indent=2))
    else:
        for item in items:
            write(msgspec.json.encode(item))


async def show_each(items: AsyncIterator[Struct], limit: int, columns: Sequence[str], form: Format) -> None:
    """Print the first `limit` items that arrive: JSON lines at once, other formats when all have arrived."""
    kept: list[Struct] = []
    count = 0
    async for item in items:
        if form == "jsonl":
            write(msgspec.json.encode(item))
        else:
            kept.append(item)
        count += 1
        if count == limit:
            break
    if form != "jsonl":
        show_all(kept, columns, form)


def write(document: bytes, stream: TextIO | None = None) -> None:
    """Write a line, to stdout by default."""
    (stream or sys.stdout).write(document.decode() + "\n")


def text(value: Any) -> str:
    """Return a value as one line of a table: times to the second, JSON unchanged, and `-` if there is none."""
    if value is None or value is UNSET:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return printable(", ".join(value)) or "-"
    return printable((bytes(value) if isinstance(value, Raw) else msgspec.json.encode(value)).decode())


def printable(value: str) -> str:
    """Return the text with escapes for control characters and line breaks."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in value)


def table(items: Iterable[Struct], columns: Sequence[str], width: int) -> Any:
    """Return a rich Table of these fields of each item. If `width` is too small, the last column is cut."""
    from rich.table import Table  # late: not every command draws one
    from rich.text import Text

    titles = [column.upper().replace("_", " ") for column in columns]
    rows = [[_cut(text(getattr(item, column)), _MAX_CELL) for column in columns] for item in items]
    taken = sum(max(len(row[at]) for row in [titles, *rows]) + len(_GAP) for at in range(len(columns) - 1))
    room = max(width - taken, len(titles[-1]))
    drawn = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="bold")
    for title in titles:
        drawn.add_column(title, no_wrap=True, overflow="ellipsis")
    for *first, last in rows:
        cells = [*first, _cut(last, room)]
        drawn.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in cells))
    return drawn


def console(stream: TextIO) -> Any:
    """Return a rich Console as wide as the terminal, or of unlimited width without one."""
    from rich.console import Console

    width = None if stream.isatty() else _UNLIMITED
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def _print_table(items: Iterable[Struct], columns: Sequence[str]) -> None:
    from rich.measure import Measurement

    screen = console(sys.stdout)
    drawn = table(items, columns, screen.width)
    needed = Measurement.get(screen, screen.options.update(max_width=_UNLIMITED), drawn).maximum
    screen.width = max(screen.width, needed)  # the terminal wraps long lines, so that ids stay whole
    screen.print(drawn)


def _print_fields(item: Struct, stream: TextIO) -> None:
    from rich.text import Text

    fields = [(name, getattr(item, name)) for name in _shown_order(item.__struct_fields__)]
    present = [(name, value) for name, value in fields if not _is_empty(value)]
    width = max((len(name) for name, _ in present), default=0)
    screen = console(stream)
    for name, value in present:
        if isinstance(value, list) and not all(isinstance(part, str) for part in value):
            for part in value:
                screen.print(Text(f"{name:{width}}  {text(part)}"), soft_wrap=True)
        else:
            shown = text(value)
            screen.print(Text(f"{name:{width}}  ").append(shown, STYLES.get(shown, "")), soft_wrap=True)


def _shown_order(names: Sequence[str]) -> list[str]:
    """Return the fields as people read them: `attempt` before `attempts`, which counts the failed ones only."""
    ordered = list(names)
    if "attempt" in ordered and "attempts" in ordered:
        ordered.remove("attempt")
        ordered.insert(ordered.index("attempts"), "attempt")
    return ordered


def _is_empty(value: Any) -> bool:
    if isinstance(value, Raw):
        return bytes(value) == b"null"
    return value is None or value is UNSET or value in ([], (), {})


def _cut(cell: str, room: int) -> str:
    """Cut a cell, because long errors would push the other columns out of sight. `get` shows them uncut."""
    return cell if len(cell) <= room else cell[: room - 1] + "…"

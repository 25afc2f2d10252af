"""The output of commands: tables and JSON, without control sequences."""

from __future__ import annotations

import io
import re
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw, Struct, UnsetType

from queuey.cli import output
from queuey.cli.progress import progress


class Thing(Struct):
    name: str
    status: str = "running"
    when: datetime | None = None
    payload: Raw = Raw(b"null")
    tags: list[str] = []
    faults: list[dict[str, Any]] = []
    extra: str | UnsetType = UNSET


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


ONE = Thing("first", when=datetime(2026, 1, 2, 3, 4, 5, 678, UTC), payload=Raw(b'{"n": 12345678901234567890}'))


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_all([ONE, Thing("second")], ["name"], "json")
    shown = capsys.readouterr().out
    assert [item["name"] for item in msgspec.json.decode(shown)] == ["first", "second"]
    assert "12345678901234567890" in shown
    output.show_all([], ["name"], "json")
    assert capsys.readouterr().out == "[]\n"
    output.show(ONE, "json")
    assert capsys.readouterr().out.startswith('{\n  "name": "first"')


def test_jsonl_is_a_document_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_all([ONE, Thing("second")], ["name"], "jsonl")
    lines = capsys.readouterr().out.splitlines()
    assert [msgspec.json.decode(line)["name"] for line in lines] == ["first", "second"]
    output.show_all([], ["name"], "jsonl")
    assert capsys.readouterr().out == ""
    output.show(ONE, "jsonl")
    assert capsys.readouterr().out.count("\n") == 1


def test_a_table_has_the_columns_that_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_all([ONE, Thing("a-much-longer-name")], ["name", "when", "payload"], "table")
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "WHEN", "PAYLOAD"]
    assert first.split("  ")[0] == "first"
    assert "2026-01-02 03:04:05Z" in first
    assert '{"n": 12345678901234567890}' in first
    assert second.split() == ["a-much-longer-name", "-", "null"]
    assert first.index("2026") == head.index("WHEN")


def test_a_table_of_a_pipe_is_not_cut_to_a_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    output.show_all([Thing("n" * 150)], ["name", "status"], "table")
    assert "n" * 150 + "  running" in capsys.readouterr().out


def test_in_a_terminal_the_last_column_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    output.show_all([Thing("first", extra="e" * 150)], ["name", "status", "extra"], "table")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert [line.rstrip() for line in shown.splitlines()] == [
        "NAME   STATUS   EXTRA",
        "first  running  " + "e" * 23 + "…",
    ]


def test_in_a_narrow_terminal_the_first_columns_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    output.show_all([Thing("n" * 28, extra="e" * 150)], ["name", "status", "extra"], "table")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()[1]
    assert shown.split() == ["n" * 28, "running", "eeee…"]


def test_one_thing_is_a_line_for_each_field_that_says_something(capsys: pytest.CaptureFixture[str]) -> None:
    thing = Thing("first", tags=["a", "b"], faults=[{"at": 1}, {"at": 2}])
    output.show(thing, "table")
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["name", "first"],
        ["status", "running"],
        ["tags", "a, b"],
        ["faults", '{"at":1}'],
        ["faults", '{"at":2}'],
    ]


@pytest.mark.parametrize("nasty", ["\x1b[2J", "a\nb", "\x07", "\x9b31m", "\u202eevil", "[red]x[/red]", ":smile:"])
def test_a_table_sends_the_terminal_nothing_that_it_obeys(nasty: str, capsys: pytest.CaptureFixture[str]) -> None:
    thing = Thing(nasty, payload=Raw(msgspec.json.encode(nasty)))
    output.show(thing, "table")
    output.show_all([thing], ["name", "payload"], "table")
    shown = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert shown.count("\n") == 5
    assert "[red]x[/red]" in shown or "red" not in nasty
    assert ":smile:" in shown or "smile" not in nasty


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (UNSET, "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (1.5, "1.5"),
        (2.0, "2"),
        (0.12345, "0.123"),
        ([], "-"),
        (["a", "b"], "a, b"),
        ({"a": [1]}, '{"a":[1]}'),
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2025-12-31 23:00:00Z"),
    ],
)
def test_values(value: object, shown: str) -> None:
    assert output.text(value) == shown


def test_a_bar_is_only_for_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with progress("Counting", 10) as advance:
        advance(5)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    with progress("Counting", 10) as advance:
        advance(5)
    assert "Counting" in screen.getvalue()
    assert "5/10" in screen.getvalue()
    assert capsys.readouterr().out == ""

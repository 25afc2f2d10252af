"""The text of the lines that are kept with a job."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuey.protocol.models import LogLine
from queuey.protocol.stored.job_log import (
    MAX_BYTES,
    MAX_LINE,
    MAX_LINES,
    bytes_of,
    cut,
    encode_line,
    is_log,
    joined,
    parse,
)

AT = datetime(2026, 11, 24, 4, 21, 26, 130_000, UTC)
AT_MS = round(AT.timestamp() * 1000)


def line(text: str) -> str:
    return encode_line("7.abc", 2, AT_MS, "info", text)


def text_of(text: str) -> str:
    (found,) = parse(line(text) + "\n")
    return found.text


def test_a_line_has_its_claim_attempt_time_level_and_text() -> None:
    assert line("begun page=3") == f'7.2 {AT_MS} info "begun page=3"'
    assert parse(line("begun page=3") + "\n") == [LogLine(2, AT, "info", "begun page=3")]


@given(st.text(alphabet=st.characters(), max_size=3000))
def test_any_text_is_one_line_within_the_bound(text: str) -> None:
    made = line(text)
    assert "\n" not in made
    assert is_log(made + "\n")
    assert bytes_of(made) <= MAX_LINE
    shown = text_of(text)
    assert all(character.isprintable() or character in "\n\t" for character in shown)
    assert shown == text or "cut" in shown or not text.isprintable() or len(text) > MAX_LINE


def test_control_characters_are_escaped_and_line_breaks_stay() -> None:
    assert text_of("a\x1b[31m\r\n\tb\u2028\ud800") == "a\\x1b[31m\\r\n\tb\\u2028\\ud800"


@pytest.mark.parametrize("character", ["x", "ü", "😀", "\x1b", '"'])
def test_a_long_text_keeps_its_start_and_its_end_and_says_that_it_was_cut(character: str) -> None:
    shown = text_of("start " + character * 5000 + " end")
    assert shown.startswith("start ")
    assert shown.endswith(" end")
    assert " …5,010 characters, cut… " in shown
    assert MAX_LINE * 3 // 4 < len(msgspec.json.encode(shown)) <= MAX_LINE


def test_the_last_lines_are_kept() -> None:
    lines = deque(line(str(number % 10)) for number in range(MAX_LINES + 20))
    assert cut(lines, sum(map(bytes_of, lines))) == MAX_LINES * 3
    assert (len(lines), lines[0]) == (MAX_LINES, line("0"))
    lines = deque(line("x" * 998) for _ in range(5))
    assert cut(lines, sum(map(bytes_of, lines))) == 4_000 <= MAX_BYTES
    assert len(lines) == 4


@pytest.mark.parametrize(
    "text",
    ["x", "1.1 5 info x", '1.1 5 info "x', '1.1 5 loud "x"', '1 5 info "x"', '1.1 9999999999999999 info "x"', "\n"],
)
def test_what_cannot_be_read_is_left_out(text: str) -> None:
    good = line("good")
    assert not is_log(f"{text}\n")
    assert [found.text for found in parse(joined([text, good]))] == ["good"]


def test_a_log_may_be_empty_and_its_last_line_has_a_newline() -> None:
    assert is_log("")
    assert not is_log(line("x"))

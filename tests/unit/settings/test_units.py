"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuey.settings.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.05, "50ms"),
        (0.5, "500ms"),
        (1.5, "1.5s"),
        (30, "30s"),
        (60, "1m"),
        (90, "90s"),
        (3600, "1h"),
        (86400, "24h"),
        (7 * 86400, "7d"),
        (1234567, "1234567s"),
    ],
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**15).map(lambda microseconds: microseconds / 1_000_000))
def test_a_duration_is_read_back_as_it_was_shown(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1024, "1KiB"),
        (256_000, "256kB"),
        (1_000_000, "1MB"),
        (4 * 1024**3, "4GiB"),
        (1024**2, "1MiB"),
    ],
)
def test_a_size_is_shown_in_its_largest_whole_unit(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 10**17))
def test_a_size_is_read_back_exactly(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_kilobytes_are_decimal_and_kibibytes_binary() -> None:
    assert (parse_size("1kB"), parse_size("1KiB"), parse_size("1.5 MB")) == (1000, 1024, 1_500_000)


@pytest.mark.parametrize("text", ["", "x", "1k", "1kb", "1KB", "1m", "-1", "1e3", "0x10", "1 000", "1__0", "٣"])
def test_other_spellings_of_a_size_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"KiB is 1,024 bytes"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "x", "1y", "1S", "1M", "-1s", "1e3", "inf", "1:30", "1h30m", "1  s", "9" * 19])
def test_other_spellings_of_a_duration_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)

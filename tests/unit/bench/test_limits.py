"""How the shares of `make bench-limits` are made of a run's figures."""

from __future__ import annotations

import pytest

from bench.limits.__main__ import DISK, FIGURES, OVER_HTTP, SHARES, STORE, sections
from bench.limits.shares import Line, Share, pick_up_limit
from bench.report import at_least


def test_a_rate_is_held_against_its_limit() -> None:
    share = Share("ours", "bare", "rate", "ours / bare")
    assert share.of({"ours": 9_000, "bare": 12_000}) == pytest.approx(0.75)


def test_of_a_time_the_limit_is_held_against_it() -> None:
    share = Share("ours", "least", "time", "ours")
    assert share.of({"ours": 2.0, "least": 0.5}) == pytest.approx(0.25)


def test_a_share_is_of_two_numbers_of_one_run() -> None:
    """On a machine that is slow for one whole run, the medians of the two sides may be of different runs."""
    row = Share("ours", "bare", "rate", "ours / bare", at_least(0.7)).row(
        [{"ours": 8, "bare": 10}, {"ours": 4, "bare": 5}, {"ours": 1, "bare": 20}]
    )
    assert row.values == pytest.approx([0.8, 0.8, 0.05])
    assert row.verdict == "met"


def test_the_limit_of_a_pick_up_has_two_syncs_and_two_round_trips() -> None:
    assert pick_up_limit(0.3, 0.1) == pytest.approx(0.8)
    assert pick_up_limit(0.3, 0.1, way_in=0.05) == pytest.approx(0.85)


def test_a_line_shows_what_each_run_found() -> None:
    assert Line("a", "a thing", "ms").row([{"a": 1.0}, {"a": 3.0}]).values == [1.0, 3.0]


def test_every_share_is_of_figures_that_the_tables_show() -> None:
    shown = {line.key for line in (*FIGURES, *OVER_HTTP, *STORE, *DISK)}
    assert {key for share in SHARES for key in (share.figure, share.limit)} <= shown


def test_the_report_has_a_row_for_each_share_and_line() -> None:
    run = dict.fromkeys((line.key for line in (*FIGURES, *OVER_HTTP, *STORE, *DISK)), 1.0)
    assert [len(section.rows) for section in sections([run])] == list(
        map(len, (SHARES, FIGURES, OVER_HTTP, STORE, DISK))
    )

"""The results in the documentation: pictures and tables are made from one file, and are those of the committed one."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import pictures, publish
from bench.publish import DOCS, FIGURES, NOTHING, PAGES, block, block_of, with_block
from bench.report import Report, Row, Section, at_least, at_most
from bench.saved import Results, bound, read

CLEAN = "2026-01-02 03:04 UTC, commit abc1234; 2 cores (a processor), Linux, Python 3.11.7"
SVG = "{http://www.w3.org/2000/svg}"
PAGE = "# A page\n\n" + "".join(f"<!-- figures: {name} -->\nold\n<!-- end of figures -->\n" for name in PAGES)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Results of both benchmarks, as they are saved."""
    rate = Row("a <rate>", "jobs/s", [90, 100, 110], at_least(80), stretch=at_least(200))
    late = Row("a time", "ms", [6, 7, 8], at_most(5))
    write(tmp_path, "queuey", [Section("Speed", [rate, late, Row("without a target", "ms", [1])])])
    single = [Row("ours", "jobs/s", [100, 300], mark="disk"), Row("theirs", "jobs/s", [50, 60], mark="memory")]
    waits = [Row("ours", "ms", [1.5], mark="disk")]
    brokers = [
        Section("Single jobs, 64 connections", single),
        Section("Pick-up by a worker that waits, p50", waits),
        Section("Drain by one worker process", [Row("ours", "jobs/s", [10])]),
    ]
    write(tmp_path, "peers", brokers)
    return tmp_path


def write(folder: Path, name: str, sections: list[Section]) -> None:
    text = Report(name, "Some queues", sections).as_json() | {"machine": CLEAN}
    (folder / f"{name}.json").write_text(json.dumps(text))


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "performance.md").write_text(PAGE)
    return folder


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def widths(svg: str, kind: str) -> list[float]:
    found = ElementTree.fromstring(svg).iter(f"{SVG}rect")
    return [float(node.attrib["width"]) for node in found if node.attrib["class"] == kind]


# --- the pictures -----------------------------------------------------------------------------------------------------


def test_a_bar_ends_where_its_figure_is_beside_the_target(saved: Path) -> None:
    """The target is in the middle; a time that is 7/5 of its target reaches 5/7 of the way there."""
    svg = pictures.targets(read(saved / "queuey.json"))
    middle = (pictures.BARS_TO - pictures.BARS_FROM) / 2
    assert widths(svg, "met") == [pytest.approx(middle * 100 / 80, abs=0.1)]
    assert widths(svg, "missed") == [pytest.approx(middle * 5 / 7, abs=0.1)]
    assert "without a target" not in texts(svg)


def test_a_picture_names_the_figures_the_date_the_commit_and_the_machine(saved: Path) -> None:
    found = texts(pictures.targets(read(saved / "queuey.json")))
    assert {"a <rate>", "100 jobs/s (>= 80.0)", "7.00 ms (<= 5.00)", CLEAN} <= set(found)


def test_the_longest_run_of_a_panel_is_as_wide_as_there_is_room(saved: Path) -> None:
    svg = PAGES["peers"].pictures["brokers"](read(saved / "peers.json"))
    room = pictures.BARS_TO - pictures.BARS_FROM
    legend = 14
    assert widths(svg, "disk") == [pytest.approx(room * 200 / 300, abs=0.1), room, legend]
    assert {"on disk", "in memory", CLEAN} <= set(texts(svg))
    assert "in the kernel's buffers" not in texts(svg)  # no row has it


def test_a_picture_is_for_light_and_dark_and_for_those_who_hear_it(saved: Path) -> None:
    results = read(saved / "peers.json")
    for draw in PAGES["peers"].pictures.values():
        svg = draw(results)
        assert "prefers-color-scheme: dark" in svg
        assert 'role="img"' in svg
        assert svg == draw(results)


def test_a_target_is_read_as_it_is_written() -> None:
    for written in (at_least(24_000), at_most(1.5)):
        sign, value = bound(str(written))
        assert f"{sign} {value:g}".replace("24000", "24,000").replace("1.5", "1.50") == str(written)


# --- publishing -------------------------------------------------------------------------------------------------------


def test_results_become_pictures_and_tables(saved: Path, docs: Path) -> None:
    assert publish.publish(saved, docs) == list(PAGES)
    text = (docs / "performance.md").read_text()
    assert "| a <rate> | jobs/s | >= 80.0 | >= 200 | 100 (90.0 to 110) | met, stretch missed |" in text
    assert "| ours | 200 | 1.50 | on disk |" in text
    assert "old" not in text
    assert text.count(CLEAN) == len(PAGES)
    assert_published(docs)


def test_to_publish_again_changes_nothing(saved: Path, docs: Path) -> None:
    publish.publish(saved, docs)
    first = {path: path.read_bytes() for path in docs.rglob("*") if path.is_file()}
    publish.publish(saved, docs)
    assert first == {path: path.read_bytes() for path in docs.rglob("*") if path.is_file()}


def test_results_of_uncommitted_changes_are_refused(saved: Path, docs: Path) -> None:
    source = saved / "queuey.json"
    source.write_text(source.read_text().replace("abc1234", "abc1234+"))
    with pytest.raises(ValueError, match="uncommitted changes"):
        publish.publish(saved, docs)
    assert (docs / "performance.md").read_text() == PAGE
    assert publish.publish(saved, docs, allow_changes=True) == list(PAGES)


def test_a_page_without_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="no marks for the figures of queuey"):
        with_block("# A page", "queuey", "a table")
    with pytest.raises(ValueError, match="no marks for the figures of queuey"):
        block_of("# A page", "queuey")


def test_what_is_in_the_documentation_is_what_its_results_give() -> None:
    assert_published(DOCS)


def assert_published(docs: Path) -> None:
    """Every picture and table of this folder is the one that its file of results gives."""
    page = (docs / "performance.md").read_text()
    for name in PAGES:
        source = docs / FIGURES / f"{name}.json"
        if not source.exists():
            assert block_of(page, name) == NOTHING
            continue
        results: Results = read(source)
        assert block_of(page, name) == block(name, results)
        for picture, draw in PAGES[name].pictures.items():
            assert (docs / FIGURES / f"{picture}.svg").read_text() == draw(results), picture

"""The comparison with other job queues: what its report makes of the numbers, and that every script has its verbs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bench.peers import catalog, environments
from bench.peers.__main__ import chosen
from bench.peers.results import Results, sections, targets

ADAPTERS = Path(environments.HERE) / "adapters"
RUNS = 3


def measured(name: str, **values: list[float]) -> Results:
    """`drain` of Queuey and peers, whose names are given in small letters."""
    results = Results()
    names = {peer.name.lower(): peer.name for peer in catalog.PEERS}
    for run in range(RUNS):
        for peer, runs in values.items():
            results.add(names[peer], {name: runs[run]})
    return results


def target(results: Results, name: str) -> list[float]:
    (row,) = [row for row in targets(results) if row.name.startswith(name)]
    return list(row.values)


def test_ratios_are_made_within_each_run_and_against_the_best_of_that_run() -> None:
    results = measured("drain", queuey=[100, 90, 80], arq=[10, 30, 10], dramatiq=[20, 10, 10])
    assert target(results, "drain, concurrency 100, over the best Python peer") == [5, 3, 8]


def test_a_peer_counts_by_the_faster_of_its_two_drains() -> None:
    results = measured("drain", queuey=[100, 100, 100], arq=[10, 10, 10])
    for _ in range(RUNS):
        results.add("arq", {"drain-wide": 20})
    assert target(results, "drain, concurrency 100, over the best Python peer (arq)") == [5, 5, 5]


def test_a_peer_that_loses_jobs_is_no_measure_of_the_drain() -> None:
    results = measured("drain", queuey=[100, 100, 100], arq=[10, 10, 10], huey=[90, 90, 90])
    assert target(results, "drain, concurrency 100, over the best Python peer (arq)") == [10, 10, 10]


def test_where_less_is_better_the_ratio_is_turned_round() -> None:
    results = measured("memory", queuey=[100, 100, 100], streaq=[300, 200, 150], dramatiq=[50, 50, 50])
    assert target(results, "memory per waiting job") == [3, 2, 1.5]  # dramatiq keeps no state


def test_a_target_without_its_peer_is_left_out() -> None:
    names = [row.name for row in targets(measured("drain", queuey=[1, 1, 1], arq=[1, 1, 1]))]
    assert names == ["drain, concurrency 100, over the best Python peer (arq)"]


def test_a_peer_that_failed_is_reported_with_the_reason_and_has_no_figures() -> None:
    results = measured("drain", queuey=[100, 100, 100], arq=[10, 10, 10])
    results.fail("arq", "drain: it ended")
    text = "\n".join(section.note for section in sections(results, {}))
    assert "- arq: not measured: drain: it ended" in text
    assert results.of("drain", "arq") == []


def test_peers_are_chosen_by_the_start_of_their_names() -> None:
    assert [peer.name for peer in chosen("arq,bull")] == ["arq", "BullMQ"]
    assert chosen("") == list(catalog.PEERS)


def test_every_peer_has_its_files() -> None:
    for peer in catalog.PEERS:
        assert (ADAPTERS / peer.adapter).is_file()
        assert environments.version_of(peer) != "unknown"


@pytest.mark.parametrize("path", sorted(ADAPTERS.glob("*_peer.py")), ids=lambda path: path.stem)
def test_every_script_can_send_and_work(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    (main,) = [call for call in calls if ast.unparse(call.func) == "common.main"]
    assert ast.unparse(main.args[0]) == "sender"
    assert ast.unparse(main.args[1]).endswith("worker")


def test_lock_files_have_hashes_and_name_no_index() -> None:
    for lock in (environments.HERE / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "--hash=sha256:" in text, lock.name
        assert "://" not in text, lock.name
    for package in ("bullmq", "bunqueue"):
        text = (environments.HERE / package / "package-lock.json").read_text()
        assert '"integrity": "sha512-' in text, package
        assert "resolved" not in text, package

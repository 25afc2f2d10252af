"""How `make bench-against` judges, reads callgrind's files and takes a recording apart."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bench.against import instructions
from bench.against.checkout import BASELINE, baseline
from bench.against.instructions import Count
from bench.against.recording import Recorder, Recording, Sent, Step, recording_proxy
from bench.against.verdict import FAILED, PASSED, Comparison, compare, compare_cpu, relative, spread, table

DUMP = """# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 1
cmd: valkey-server
part: {part}


desc: I1 cache:
desc: Timerange: Basic block 0 - 100
desc: Trigger: {trigger}

positions: line
events: Ir
summary: {total}

fn=(1) processCommand
0 {total}

totals: {total}
"""
AFTER = "--dump-after=processCommand"
ONE = Step("one", 3, 1)
TWO = Step("two", 1, 100)
BETWEEN = Step("", 0, 0)
COMMAND = (b"EVALSHA", b"sha")


# --- the limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "percent", "verdict"),
    [(100.0, 1.0, PASSED), (101.0, 1.0, PASSED), (101.1, 1.0, FAILED), (50.0, 1.0, PASSED), (104.9, 5.0, PASSED)],
)
def test_a_figure_may_rise_by_its_limit_and_fall_by_anything(tree: float, percent: float, verdict: str) -> None:
    assert Comparison("instructions", "a call", 100.0, tree, percent).verdict == verdict


@pytest.mark.parametrize(
    ("commit", "tree", "verdict"),
    [(9.05, 9.05, PASSED), (9.05, 9.0, PASSED), (9.05, 9.051, FAILED), (0.0, 0.0, PASSED), (0.0, 1.0, FAILED)],
)
def test_an_exact_figure_may_not_rise_at_all(commit: float, tree: float, verdict: str) -> None:
    assert Comparison("commands", "a call", commit, tree, percent=0.0).verdict == verdict


def test_every_figure_of_both_sides_is_compared() -> None:
    first, second = compare("run", "commands", {"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 3.0}, percent=0.0)
    assert (first.name, first.change, first.verdict) == ("run: a", 0.0, PASSED)
    assert (second.name, second.change, second.verdict) == ("run: b", 50.0, FAILED)


def test_a_figure_that_one_side_lacks_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"run: the two sides have different figures: \['b'\]"):
        compare("run", "commands", {"a": 1.0, "b": 2.0}, {"a": 1.0}, percent=0.0)


def test_the_table_shows_both_figures_the_difference_the_limit_and_the_verdict() -> None:
    exact = Comparison("commands", "a call", 4.0, 4.0, 0.0)
    worse = Comparison("instructions", "a call", 2000.0, 2100.0, 1.0)
    hardly_worse = Comparison("bytes", "a call", 20_000.0, 20_001.0, 0.0)
    assert table([exact, worse, hardly_worse]).splitlines()[2:] == [
        "| commands | a call | 4.00 | 4.00 | 0 | no more | passed |",
        "| instructions | a call | 2,000 | 2,100 | +5 % | +1.0 % | failed |",
        "| bytes | a call | 20,000 | 20,001 | +0.005 % | no more | failed |",
    ]


# --- the CPU time -----------------------------------------------------------------------------------------------------


def test_the_spread_is_what_a_commit_differs_from_itself_in_a_middling_round() -> None:
    assert spread([100, 100, 100], [101, 97, 150]) == pytest.approx(3)


def test_differences_of_both_signs_do_not_cancel_out() -> None:
    assert spread([100, 100, 100], [90, 100, 110]) == pytest.approx(10)


def test_a_small_spread_leaves_the_limit_as_it_is() -> None:
    judged = compare_cpu("enqueue", [100, 100, 100], [101, 101, 101], [104, 104, 104])
    assert (judged.percent, judged.verdict) == (5.0, PASSED)
    assert judged.change == pytest.approx(relative(104, 100.5))


def test_a_loss_above_the_limit_fails() -> None:
    assert compare_cpu("enqueue", [100, 100, 100], [101, 101, 101], [107, 107, 107]).verdict == FAILED


def test_twice_a_large_spread_is_the_limit() -> None:
    judged = compare_cpu("enqueue", [100, 100, 100], [106, 106, 106], [113, 113, 113])
    assert judged.percent == pytest.approx(12)
    assert judged.verdict == PASSED
    assert compare_cpu("enqueue", [100, 100, 100], [106, 106, 106], [117, 117, 117]).verdict == FAILED


def test_each_round_is_held_against_its_own_round() -> None:
    """Where the machine is twice as slow for a while, both sides are, and the medians alone may be of other rounds."""
    judged = compare_cpu("enqueue", [100, 200, 100], [100, 200, 100], [101, 202, 180])
    assert judged.change == pytest.approx(1)


# --- callgrind --------------------------------------------------------------------------------------------------------


def test_a_dump_has_its_number_and_its_instructions() -> None:
    assert instructions.parse(DUMP.format(part=7, trigger=AFTER, total=12345)) == (7, Count(12345, 12345))


def test_a_dump_that_no_command_has_caused_has_no_instructions() -> None:
    assert instructions.parse(DUMP.format(part=8, trigger="Program termination", total=3)) == (8, None)


def test_what_the_allocator_takes_is_counted_by_itself() -> None:
    """A file is named where it is first met, also as that of a callee, whose cost stands at its own lines."""
    lines = """
fl=(1) ???
fn=(1) processCommand
0 100
+3 20
cfi=(2) ./malloc/./malloc/malloc.c
cfn=(2) malloc
calls=1 0
-1 70

fl=(2)
fn=(2) malloc
3200 40
+1 20
fi=(3) ./malloc/./malloc/arena.c
* 10
fe=(2)
cfi=(1)
cfn=(3) sbrk
calls=1 0
* 5

fl=(1)
fn=(3) sbrk
0 5
"""
    dump = DUMP.format(part=7, trigger=AFTER, total=195).replace("fn=(1) processCommand\n0 195\n", lines)
    assert instructions.parse(dump) == (7, Count(195, 125))


def test_what_is_no_dump_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no output of callgrind"):
        instructions.parse("valgrind: failed to start")


def test_the_instructions_come_in_the_order_of_the_commands(tmp_path: Path) -> None:
    """Callgrind counts up in the names of its files, so the tenth sorts before the second."""
    for part, trigger, total in ((1, AFTER, 11), (2, AFTER, 12), (10, AFTER, 20), (11, "Program termination", 0)):
        (tmp_path / f"{instructions.DUMP_PREFIX}.{part}").write_text(
            DUMP.format(part=part, trigger=trigger, total=total)
        )
    assert [count.all for count in instructions.counts(tmp_path.iterdir())] == [11, 12, 20]


def test_a_step_is_what_its_cheapest_request_takes_without_the_allocator() -> None:
    sent = [Sent(step, call, COMMAND) for step, call in ((-1, -1), (0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 0))]
    recording = Recording([ONE, BETWEEN, TWO], sent)
    replays = [[9000, 10, 12, 500, 9000, 30, 40], [9000, 11, 13, 14, 9000, 31, 43]]
    counted = [[Count(one, one - 2) for one in replay] for replay in replays]
    assert instructions.per_call(recording, counted) == {"one": 8, "two": 66}  # two commands a request
    assert instructions.in_all(recording, counted) == {instructions.WHOLE: (592 + 112) / 2}


def test_the_collector_is_stopped_before_each_request_and_belongs_to_none() -> None:
    sent = [Sent(step, call, COMMAND) for step, call in ((-1, -1), (-1, -1), (0, 0), (0, 1), (0, 1), (2, 0))]
    recording = instructions.uncollected(Recording([ONE, BETWEEN, TWO], sent))
    stop = Sent(-1, -1, instructions.STOP)
    assert recording.sent == [stop, *sent[:2], stop, sent[2], stop, *sent[3:5], stop, sent[5]]
    assert recording.steps == [ONE, BETWEEN, TWO]


# --- the recording ----------------------------------------------------------------------------------------------------


def test_a_command_belongs_to_the_request_that_was_under_way() -> None:
    recorder = Recorder()
    recorder.passed(COMMAND)
    recorder.begin(ONE)
    recorder.passed(COMMAND)
    recorder.passed((b"info", b"server"))
    recorder.next_call()
    recorder.passed(COMMAND)
    recording = recorder.recording()
    assert [(sent.step, sent.call) for sent in recording.sent] == [(-1, -1), (0, 0), (0, 1)]
    assert recording.of_step(0) == [COMMAND, COMMAND]


def test_a_proxy_passes_commands_and_replies_on_and_keeps_the_commands(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "store"))
        listening.listen()
        with recording_proxy(tmp_path / "proxy", tmp_path / "store") as recorder, socket.socket(socket.AF_UNIX) as ours:
            ours.settimeout(10)
            ours.connect(str(tmp_path / "proxy"))
            store, _ = listening.accept()
            with store:
                store.settimeout(10)
                # Cut in the middle of a word, as a socket may.
                for part in (b"*2\r\n$3\r\nGET\r\n$3\r", b"\nkey\r\n"):
                    ours.sendall(part)
                    assert store.recv(100) == part
                store.sendall(b"$-1\r\n")
                assert ours.recv(100) == b"$-1\r\n"
                assert [sent.command for sent in recorder.recording().sent] == [(b"GET", b"key")]


# --- the baseline -----------------------------------------------------------------------------------------------------


def test_the_baseline_is_the_first_line_that_is_no_comment(tmp_path: Path) -> None:
    file = tmp_path / "BASELINE"
    file.write_text("# why\n\nabc123\n")
    assert baseline(file) == "abc123"


def test_the_repository_names_a_whole_hash() -> None:
    assert len(baseline(BASELINE)) == 40

import os
import select
from pathlib import Path

import pytest

from scripts import accept

PAGE = """# Acceptance

## Issue 20

| point | what shows it | command |
| --- | --- | --- |
| 1 | nothing fails | `true` |

## Issue 2: the main job

| point | what shows it | command |
| --- | --- | --- |
| 1 | it starts | `true` |
| 2 | the store test | `sh -c 'exit 3'` |
| 3 | as for 1, and a pipe | `true`, `echo a \\| grep a` |

Some words with `code` in them.

## Issue 3

| point | what shows it | command |
| --- | --- | --- |
| 4 | by hand | look at it |

## Issue 4

Nothing yet.
"""


def test_each_command_is_listed_once_with_its_points() -> None:
    assert accept.commands_by_points(PAGE, 2) == {
        "true": ["1", "3"],
        "sh -c 'exit 3'": ["2"],
        "echo a | grep a": ["3"],
    }


def test_a_heading_is_matched_by_its_whole_number() -> None:
    assert accept.commands_by_points(PAGE, 20) == {"true": ["1"]}


@pytest.mark.parametrize(
    ("issue", "fault"),
    [(3, "point 4: the last cell names no command"), (4, "no command is listed"), (5, "no heading")],
)
def test_a_page_that_lists_nothing_to_run_is_refused(issue: int, fault: str) -> None:
    with pytest.raises(accept.PageError, match=fault):
        accept.commands_by_points(PAGE, issue)


def test_every_command_runs_and_the_failed_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert accept.accept(PAGE, 2) is False
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4].strip() for line in lines] == ["pass", "FAIL", "", "pass", "issu"]
    assert lines[0].endswith(" true  (point 1, 3)")
    assert lines[2].strip() == "exit code 3"
    assert lines[-1] == "issue 2: 2 of 3 commands passed"


def test_the_end_of_a_failed_commands_output_is_kept() -> None:
    outcome = accept.run("printf '%9000d' 0; echo last words; exit 1", timeout=30)
    assert not outcome.passed
    assert outcome.output.endswith("last words\nexit code 1\n")
    assert len(outcome.output) < accept.SHOWN_BYTES + 100


def test_a_command_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    alive, blocker = tmp_path / "alive", tmp_path / "blocker"
    os.mkfifo(alive)
    os.mkfifo(blocker)
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    try:
        # Shell and child wait for ever to open the blocker, and both hold `alive` open for writing.
        outcome = accept.run(f"exec 9>'{alive}'; (cat '{blocker}') & cat '{blocker}'", timeout=1)
        assert outcome.output == "stopped after 1 s\n"
        # An end of file comes when the last writer has died, and nothing comes while one lives.
        assert select.select([reader], [], [], 10)[0] == [reader]
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


@pytest.mark.parametrize(("issue", "code"), [(20, 0), (2, 1), (5, 2)])
def test_the_exit_code_tells_the_outcome(
    issue: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "acceptance.md"
    page.write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(accept, "PAGE", page)
    assert accept.main([str(issue)]) == code

"""The flags of `queuey job enqueue` for unique jobs."""

from __future__ import annotations

import pytest

from tests.unit.cli.test_cli import failure


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (["--until", "started"], "--until: there is no key. Add --unique-key KEY."),
        (["--debounce", "5s"], "--debounce: there is no key"),
        (["--unique-key", "k", "--max-wait", "5s"], "--max-wait: there is no wait. Add --debounce"),
        (["--unique-key", "k", "--debounce", "5s", "--until", "started"], "--until: has no effect with --debounce"),
        (["--unique-key", "k", "--throttle", "5s", "--on-conflict", "reject"], "--on-conflict: has no effect"),
    ],
)
def test_flags_of_unique_jobs_that_do_not_go_together_are_named(
    flags: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fault in failure(capsys, ["job", "enqueue", "relay", *flags])

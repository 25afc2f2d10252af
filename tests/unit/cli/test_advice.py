"""What is shown after a wrong command line: the help of the command that failed, and where flags are put."""

from __future__ import annotations

import pytest

from queuey.cli import main


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["sevre"], "Try 'queuey --help'."),
        (["job", "lst"], "Try 'queuey job --help'."),
        (["job", "list", "--foo"], "Try 'queuey job list --help'."),
        (["serve", "--leese", "3"], "Try 'queuey serve --help'."),
        (["job", "enqueue", "a", "b", "c"], "Try 'queuey job enqueue --help'."),
        (["--url", "X", "job", "list"], "queuey: --url: flags are put after the command, as in: queuey job list --url"),
        (["--url=X", "job", "list"], "queuey: --url: flags are put after the command"),
        (["job", "-o", "json", "list"], "queuey: -o: flags are put after the command"),
    ],
)
def test_the_advice_is_for_the_command_that_failed(
    capsys: pytest.CaptureFixture[str], arguments: list[str], advice: str
) -> None:
    assert main(arguments) == 2
    assert advice in capsys.readouterr().err

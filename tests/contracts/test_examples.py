"""The examples in help and in errors work as printed.

Every text of the package is searched: its commands are parsed by the command line, its flags exist and accept their
values, and each "such as" and "for example" has a check in VALUES. A new example without one fails.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from cyclopts import App

from queuey.cli import app as root
from queuey.errors import StartupError
from queuey.protocol import traceparent
from queuey.protocol.allowed import SOON
from queuey.protocol.credentials import Credentials
from queuey.protocol.models import JobRequest
from queuey.protocol.server_url import LOCAL_URL
from queuey.server.http import connections
from queuey.services.jobs.submission import Submission, SubmissionSettings
from queuey.services.schedules.cron import Cron
from queuey.services.schedules.zones import Zone
from queuey.settings.client_access import read_access
from queuey.settings.settings import SETTINGS, Settings, load
from queuey.settings.sources import flag
from queuey.settings.units import parse_duration, parse_size
from tests.contracts.test_layers import TREES

FILLED: Final = {
    "host": "::1",
    "copies": "2",
    "found": "4",
    "asked": "1",
    "stored": "4",
    "about.shards": "4",
    "broker.shards.prefix": "queuey",
    "LOCAL_URL": LOCAL_URL,
    "SOON": SOON,
}
"""What stands in the texts for a value of the code; "x" for any other."""
COMMANDS: Final = tuple(name for name, _, _ in root.COMMANDS)
COMMAND: Final = re.compile(rf"\bqueuey (?:COMMAND --help|--help|(?:{'|'.join(COMMANDS)})\b[^`'\n>]*)")
FLAG: Final = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)(?:[ =]([^\s`',;]*[\d/][^\s`',;]*))?")
EXAMPLE: Final = re.compile(r"(?:such as|[Ff]or example|e\.g\.) (.*)", re.DOTALL)


def texts() -> list[tuple[str, str]]:
    """(place, text) of every string of the package. Docstrings count only in commands, where they are help."""
    found = []
    for module, tree in TREES.items():
        skipped = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
        if not module.startswith("queuey.cli.commands."):
            skipped |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = None if id(node) in skipped else text_of(node)
            if text and not re.fullmatch(r"--\S+", text):  # a flag by itself may be one of another program
                found.append((f"{module}:{node.lineno}", text))  # type: ignore[attr-defined]
    return found


def text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) or "" for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return FILLED.get(ast.unparse(node.value), "x")
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


TEXTS: Final = texts()


def found(pattern: re.Pattern[str]) -> list[Any]:
    """A parameter for each match in a text."""
    matches = [(place, match) for place, text in TEXTS for match in pattern.finditer(text)]
    assert matches
    return [pytest.param(match, id=f"{place} {match[0][:60]}") for place, match in matches]


def flags() -> set[str]:
    """Every flag of every command."""
    names = {flag(name) for name, setting in SETTINGS.items() if setting.has_flag}
    for app in applications(root.app):
        names |= {name for argument in app.assemble_argument_collection() for name in argument.names}
    return names


def applications(app: App) -> Iterator[App]:
    """The commands below this one."""
    for name in app:
        below = app[name]
        if name.startswith("-"):
            continue
        if below.default_command is None:
            yield from applications(below)
        else:
            yield below


FLAGS: Final = flags() | {"--help", "--version", "--some-name"}  # the last stands for any


@pytest.mark.parametrize("match", found(COMMAND))
def test_a_command_is_accepted(match: re.Match[str]) -> None:
    arguments = shlex.split(match[0].replace("COMMAND", "job"))[1:]
    names, apps, rest = root.app.parse_commands(arguments)
    if rest:
        root.app.parse_args(arguments, exit_on_error=False, print_error=False)
    else:  # it is named, not shown
        assert [*names] == arguments
        assert len(apps) == 1 + len(arguments)


@pytest.mark.parametrize("match", found(FLAG))
def test_a_flag_exists_and_accepts_its_value(match: re.Match[str]) -> None:
    name, value = match.groups()
    assert f"--{name}" in FLAGS
    if value and (setting := name.replace("-", "_")) in SETTINGS:
        load({setting: value.rstrip(".")}, {})


def run_at(example: str) -> None:
    """It is accepted now, and as long as this process may run."""
    request = msgspec.json.decode(f'{{"type":"t","run_at":"{example}"}}', type=JobRequest)
    submission = Submission(SubmissionSettings.of(Settings(data_dir=Path("/unused"))), lambda _: None)
    for later in (timedelta(0), timedelta(days=3650)):
        submission.new_job(request, int((datetime.now(UTC) + later).timestamp() * 1000))
    assert request.run_at
    assert timedelta(0) < request.run_at - datetime.now(UTC) < timedelta(days=2), "a reader expects a later time"


def parent(example: str) -> None:
    assert traceparent.read(re.sub(r"<(\d+) hex digits>", lambda match: "a" * int(match[1]), example)) is not None


def path_of_app(example: str) -> None:
    assert load({"app": example}, {}).app == example


def database(example: str) -> None:
    load({"redis": f"redis://localhost:6379{example}"}, {})


def host(example: str) -> None:
    assert connections._HOST.fullmatch(example.encode())


VALUES: Final[tuple[tuple[str, Callable[[str], object]], ...]] = (
    (r"time with seconds, and a time zone, such as (\S+)", run_at),
    (r"Earliest start, such as (\S+)\.", run_at),
    (r"Only tick, such as (\S+)\.", run_at),
    (r"Trace Context, such as (.+)", parent),
    (r"a date such as (\S+)$", date.fromisoformat),
    (r"name of a time zone, such as (\S+)$", Zone),
    (r"give a name such as (\S+), or UTC", Zone),
    (r"cron expression of 1 to x characters, such as (.+)$", Cron),
    (r"duration such as (\d+) \(seconds\), (\w+), (\w+), (\w+), (\w+) or (\w+)", parse_duration),
    (r"size such as (\d+) \(bytes\), (\w+) \(kB is 1,000 bytes\) or (\w+) ", parse_size),
    (r"module:\w+, for example ([\w:]+)", path_of_app),
    (r"1 to 65535 if any, for example (\S+?),?$", lambda example: read_access(example, {})),
    (r"such as 'Host: (\S+)'", host),
    (r"at the end of --redis, such as (\S+)\.", database),
    # Examples in words; the test of flags checks the flag.
    (r"Narrow the search, for example by --queue", str),
    (r"logs, for example its program", str),
    (r"for example one in each asyncio\.run", str),
    # The examples of the API's description, which are not in this text.
    (r"^For example `x`$|\. For example `x`$", str),
    (r"another --data-dir, such as a new directory", str),
)
"""What may follow "such as", and what accepts it."""


@pytest.mark.parametrize("match", found(EXAMPLE))
def test_an_example_is_accepted(match: re.Match[str]) -> None:
    checks = [(made, check) for pattern, check in VALUES if (made := re.search(pattern, match.string))]
    assert checks, "a new example: add its check to VALUES"
    for made, check in checks:
        for example in made.groups():
            check(example)


@pytest.mark.parametrize(("pattern", "parse"), [(r"\b\d\w*[smhd]\b", parse_duration), (r"\b\d\w*B\b", parse_size)])
def test_the_help_of_serve_shows_values_that_are_accepted(pattern: str, parse: Callable[[str], object]) -> None:
    examples = re.findall(pattern, root.SERVE_HELP)
    assert len(examples) >= 5
    for example in examples:
        parse(example)


def test_a_key_is_made_as_an_error_says(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StartupError) as caught:
        Credentials(None, (), ()).check_bind("0.0.0.0")
    (command,) = re.findall(r"^ +queuey (.+)$", caught.value.message, re.MULTILINE)
    assert root.main(shlex.split(command)) == 0
    entry = capsys.readouterr().out.splitlines()[-1]
    assert load({}, {"QUEUEY_API_KEYS": entry}).api_keys


@pytest.mark.parametrize("shell", re.findall(r"queuey completion (\w+)", root.COMPLETION_HELP))
def test_a_completion_script_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert root.main(["completion", shell]) == 0
    assert "queuey" in capsys.readouterr().out

"""The command line: its output, its exit codes, and that only a bug causes a traceback."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cyclopts import App
from rich.console import Console

from queuey import __version__
from queuey.cli import app as root
from queuey.cli import exits, main
from queuey.errors import StartupError
from queuey.protocol.credentials import Credentials, parse_api_keys
from queuey.settings.settings import SETTINGS, Settings, default
from queuey.settings.sources import flag

ROOT = Path(__file__).parents[3]
Serve = Callable[[Settings], int]
LONGEST_HELP = 12
"""The most words in a sentence of the help of a flag or an argument."""


@pytest.fixture(autouse=True)
def no_settings_and_a_wide_console(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("QUEUEY_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(root.app, "console", Console(width=400, force_terminal=False))  # help in one line each


def serve_with(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    module = types.ModuleType("queuey.server.server")
    module.__dict__["serve"] = serve
    monkeypatch.setitem(sys.modules, "queuey.server.server", module)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the server was started with."""
    seen: list[Settings] = []

    def serve(settings: Settings) -> int:
        seen.append(settings)
        return 7

    serve_with(monkeypatch, serve)
    return seen


def failure(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_serve_takes_flags_variables_and_a_file(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "q.toml"
    file.write_text("port = 1\nlease = 11\nshards = 3\n")
    monkeypatch.setenv("QUEUEY_PORT", "2")
    monkeypatch.setenv("QUEUEY_LEASE", "22")
    assert main(["serve", "--config", str(file), "--lease=33s", "--queues", "emails,images"]) == 7
    (settings,) = served
    assert (settings.port, settings.lease, settings.shards) == (2, 33.0, 3)
    assert settings.queues == ("emails", "images")


def test_several_processes_have_a_parent(served: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    supervised: list[int] = []

    def supervise(settings: Settings) -> int:
        supervised.append(settings.processes)
        return 8

    module = types.ModuleType("queuey.server.processes.supervisor")
    module.__dict__["supervise"] = supervise
    monkeypatch.setitem(sys.modules, "queuey.server.processes.supervisor", module)
    assert main(["serve", "--processes", "2"]) == 8
    monkeypatch.setenv("QUEUEY_PROCESSES", "3")
    assert main(["serve"]) == 8
    assert supervised == [2, 3]
    assert served == []
    assert main(["serve", "--processes", "1"]) == 7


def test_serve_without_flags_has_the_defaults(served: list[Settings]) -> None:
    assert main(["serve"]) == 7
    assert served == [Settings()]


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.has_flag])
def test_each_setting_is_a_flag_with_its_help_and_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--help"]) == 0
    text = capsys.readouterr().out
    setting = SETTINGS[name]
    assert re.search(rf"{flag(name)} {re.escape(setting.metavar)} +{re.escape(setting.help)}", text)
    assert f"{setting.help} [default: {default(name)}]" in text


def test_keys_are_no_flags(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    message = failure(capsys, ["serve", "--api-key", "very-secret"])
    assert "set QUEUEY_API_KEY" in message
    assert "very-secret" not in message
    assert served == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["serve", "--leese", "3"], "Unknown option: --leese. Did you mean --lease?"),
        (["serve", "--lease"], "--lease requires an argument"),
        (["serve", "--lease", "soon"], "queuey: --lease: 'soon' is not a duration such as"),
        (["serve", "--port", "-3"], "queuey: --port: '-3' is not a whole number. Allowed: 0 to 65535."),
        (["serve", "here"], "here"),
        (["serve", "--config", "/nowhere.toml"], "queuey: /nowhere.toml: cannot be read: No such file"),
        (["sevre"], "sevre"),
        (["key", "new", "a b"], "queuey: A key needs a name of"),
        (["key", "new", "admin"], "queuey: A key needs a name other than admin"),
        (["key", "new", "ci", "--scope", "write"], "queuey: --scope: 'write' has the unknown scope 'write'"),
    ],
)
def test_a_wrong_call_says_why(
    served: list[Settings], capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert reason in failure(capsys, arguments)
    assert served == []


def test_a_wrong_variable_says_why(
    served: list[Settings], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUEY_LEASE", "soon")
    monkeypatch.setenv("QUEUEY_API_KEYS", "ci:submit:very-secret")
    message = failure(capsys, ["serve"])
    assert "QUEUEY_LEASE: 'soon' is not a duration" in message
    assert "entry 1 (ci)" in message
    assert "very-secret" not in message


def test_a_failed_start_is_one_plain_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def serve(settings: Settings) -> int:
        raise StartupError("port 8000 is taken; choose another with --port")

    serve_with(monkeypatch, serve)
    assert main(["serve"]) == 3
    assert capsys.readouterr().err == "queuey: port 8000 is taken; choose another with --port\n"


def test_an_interrupt_shows_only_in_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve(settings: Settings) -> int:
        raise KeyboardInterrupt

    serve_with(monkeypatch, serve)
    assert main(["serve"]) == 130
    assert capsys.readouterr().err == ""


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(settings: Settings) -> int:
        raise ZeroDivisionError("bug")

    serve_with(monkeypatch, serve)
    with pytest.raises(ZeroDivisionError):
        main(["serve"])


def test_key_new_prints_a_key_that_its_entry_lets_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "new", "ci", "--scope", "submit", "--scope", "read@emails"]) == 0
    captured = capsys.readouterr()
    secret, entry = captured.out.splitlines()
    owner = Credentials(api_keys=parse_api_keys([entry])).identify(secret)
    assert owner is not None
    assert (owner.name, [str(grant) for grant in owner.grants]) == ("ci", ["submit", "read@emails"])
    assert secret not in captured.err
    assert "QUEUEY_API_KEYS" in captured.err


def test_key_new_has_a_name_and_scopes_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    entries = []
    for _ in range(2):
        assert main(["key", "new"]) == 0
        entries.append(capsys.readouterr().out.splitlines()[1])
    first, second = parse_api_keys(entries)
    assert first.name != second.name
    assert [str(grant) for grant in first.grants] == ["submit", "read"]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["key"], ["key", "new", "--help"], ["serve", "--help"]])
def test_help_goes_to_stdout(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Usage: queuey")
    assert captured.err == ""


def test_the_list_of_commands_is_shown_without_what_they_need() -> None:
    script = """
import sys
from queuey.cli import app as root
from queuey.cli import exits, main
main(["--help"])
heavy = {"httpx", "starlette", "uvicorn", "redis", "structlog", "rich.progress"}
heavy |= {"queuey.settings.settings", "queuey.client"}
print(*sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.startswith("Usage: queuey COMMAND")
    assert done.stderr.strip() == ""


def leaves(app: App, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command."""
    names = [name for name in app if not name.startswith("-")]
    for name in names:
        yield from leaves(app[name], *path, name)
    if not names:
        yield path


def command(path: tuple[str, ...]) -> App:
    """Return the command that these words call."""
    found = root.app
    for name in path:
        found = found[name]
    return found


@pytest.mark.parametrize("path", list(leaves(root.app)), ids=" ".join)
def test_each_command_has_help_and_its_place_in_the_docs(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, "--help"]) == 0
    text = capsys.readouterr().out
    usage, _, says, *_ = text.splitlines()
    assert usage.startswith(f"Usage: queuey {' '.join(path)}")
    assert "ARGS" not in usage, "name each argument: usage() of cli/options.py"
    assert re.match(r"[A-Z][a-z]+ ", says), f"{says!r} tells what it does"
    documented = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert re.search(rf"`{' '.join(path)}[ `]", documented)


@pytest.mark.parametrize("path", list(leaves(root.app)), ids=" ".join)
def test_each_argument_has_a_short_help(path: tuple[str, ...]) -> None:
    arguments = [
        argument for argument in command(path).assemble_argument_collection() if argument.show and not argument.children
    ]
    texts = {argument.name: argument.parameter.help or "" for argument in arguments}
    assert [name for name, text in texts.items() if not text.endswith(".")] == []
    sentences = [sentence for text in texts.values() for sentence in re.split(r"(?<=\.) ", text)]
    assert [sentence for sentence in sentences if len(sentence.split()) > LONGEST_HELP] == []


@pytest.mark.parametrize("path", list(leaves(root.app)), ids=" ".join)
def test_a_paragraph_of_help_is_one_line(path: tuple[str, ...]) -> None:
    """Help keeps the line breaks of a docstring, which would break lines of a terminal in the middle."""
    paragraphs = command(path).help.strip().split("\n\n")
    assert [text for text in paragraphs if "\n" in text] == []


def test_exit_codes_are_documented() -> None:
    documented = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").partition("## Exit codes")[2]
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", documented, re.MULTILINE)} == codes


@pytest.mark.parametrize(
    ("status", "code"),
    [(None, 3), (400, 2), (401, 5), (403, 5), (404, 4), (409, 6), (413, 2), (422, 2), (429, 3), (500, 1), (503, 3)],
)
def test_an_answer_makes_an_exit_code(status: int | None, code: int) -> None:
    assert exits.code_of(status) == code


def completed_by_bash(script: str, *words: str) -> set[str]:
    """Return what bash offers for the last word."""
    line = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}"
    ask = f'{script}\n{line}\n_queuey\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=30, check=True)
    return set(done.stdout.split())


def test_completion_completes_commands_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert {"serve", "key", "completion"} <= completed_by_bash(script, "queuey", "")
    assert "new" in completed_by_bash(script, "queuey", "key", "")
    offered = completed_by_bash(script, "queuey", "serve", "--d")
    assert {"--data-dir", "--drain-timeout"} <= offered
    assert "--port" not in offered


@pytest.mark.parametrize("shell", ["zsh", "fish", "powershell"])
def test_completion_is_for_other_shells_too(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "queuey" in script
    assert "drain-timeout" in script


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "csh" in failure(capsys, ["completion", "csh"])


def test_it_runs_as_a_module() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "queuey", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    version = run("--version")
    assert (version.returncode, version.stdout) == (0, f"{__version__}\n")
    wrong = run("serve", "--lease", "soon")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("queuey: --lease: 'soon'")


NOT_TEXT = os.fsdecode(b"\xff")


@pytest.mark.parametrize(
    "arguments",
    [
        ["job", "enqueue", "relay", f'"{NOT_TEXT}"'],
        ["job", "enqueue", NOT_TEXT],
        ["job", "enqueue", "relay", "1", "--dedupe-key", NOT_TEXT],
        ["job", "get", NOT_TEXT],
        ["job", "list", f"--queue={NOT_TEXT}"],
        ["queue", "pause", "mail", "--reason", NOT_TEXT],
        ["serve", "--data-dir", NOT_TEXT],
        ["export", "-o", NOT_TEXT],
        [NOT_TEXT],
    ],
)
def test_an_argument_that_is_not_utf_8_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "\\udcff' is not valid UTF-8" in failure(capsys, arguments).replace('"', "")


def test_a_long_argument_that_is_not_utf_8_is_cut_in_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(failure(capsys, ["job", "enqueue", "relay", "1" * 10_000 + NOT_TEXT])) < 300


@pytest.mark.parametrize("variable", ["QUEUEY_DATA_DIR", "QUEUEY_QUEUES", "QUEUEY_REDIS"])
def test_a_variable_that_is_not_utf_8_is_a_usage_error(
    variable: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, NOT_TEXT)
    assert f"{variable}: The value is not valid UTF-8" in failure(capsys, ["serve"])


def test_a_url_that_is_not_utf_8_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUEY_URL", f"http://{NOT_TEXT}")
    assert "QUEUEY_URL: The value is not valid UTF-8" in failure(capsys, ["queue", "list"])


def test_a_default_data_directory_that_is_not_utf_8_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = tmp_path / NOT_TEXT
    project.mkdir()
    (project / "pyproject.toml").touch()
    monkeypatch.chdir(project)
    message = failure(capsys, ["serve"])
    assert message.startswith("queuey: data_dir: The path '")
    assert "is not valid UTF-8" in message


def test_the_message_names_the_encoding_of_another_locale() -> None:
    """Python decodes arguments as ASCII there, so an umlaut in UTF-8 is not text."""
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "queuey", "serve", "--data-dir", "spä"],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "is not valid in the encoding of the locale, ascii. Set LC_ALL=C.UTF-8" in ended.stderr
    assert "Traceback" not in ended.stderr

"""The root of the command line: the list of commands, and how each ends.

A command is registered by the name of its module, which is imported when the command runs or its help is shown. The
docstring of a command is its help. stdout carries only data; explanations, errors, progress and logs go to stderr.
Exit codes: see `exits`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError, UnknownCommandError

from queuey.cli.arguments import check_arguments, usage
from queuey.cli.exits import INTERRUPTED, OK, READER_GONE, USAGE, explain, leave_stdout
from queuey.cli.failures import exit_code
from queuey.errors import StartupError
from queuey.streams import open_standard_streams, outlive_terminal
from queuey.version import __version__

SERVE_HELP: Final = (
    "Run the server: the HTTP API, workers and the reaper in one process.\n\n"
    "The reaper takes back jobs whose lease has expired. "
    "Without --redis it starts a private Valkey.\n\n"
    "Each flag --some-name is also the variable QUEUEY_SOME_NAME and the key some_name of a TOML file (--config or "
    "QUEUEY_CONFIG). A flag overrides a variable, and a variable overrides the file. API keys have no flag, because "
    "other users of the machine can see command lines: set QUEUEY_API_KEY or QUEUEY_API_KEYS.\n\n"
    "DURATION is a number of seconds, or 500ms, 30s, 5m, 24h, 7d. SIZE is a number of bytes, or 256kB, 1MB, 4GB "
    "(powers of 1,000), or 256KiB, 1MiB, 4GiB (powers of 1,024)."
)
TOP_HELP: Final = (
    "Show queues and workers live. Press q or Ctrl-C to stop.\n\n"
    "With -o jsonl it prints a line for each update. With -o json, or with a table that does not go to a terminal, it "
    "prints once."
)
WORK_HELP: Final = (
    "Run the handlers of an App: fetch jobs and report results over HTTP.\n\n"
    "Set QUEUEY_API_KEY to a key with the scope work. On SIGTERM it claims no more jobs, lets running jobs finish for "
    "--drain-timeout, and releases the rest. Other flags and variables mean the same as for serve."
)
COMPLETION_HELP: Final = (
    "Print the completion script of a shell.\n\n"
    "bash: queuey completion bash > ~/.local/share/bash-completion/completions/queuey\n\n"
    "zsh: queuey completion zsh > _queuey, in a folder of $fpath\n\n"
    "fish: queuey completion fish > ~/.config/fish/completions/queuey.fish"
)
EXPORT_HELP: Final = (
    "Write the whole store to a file, as a backup or to move it.\n\n"
    "Servers may use the store meanwhile, but their new jobs may be missing. For a complete file, stop the servers "
    "first. The file contains payloads and results."
)
IMPORT_HELP: Final = (
    "Load a file of `queuey export` into a store.\n\n"
    "The number of shards may differ from the old store. Running jobs become queued, and reports of their old workers "
    "are refused. Start the servers after the import. To continue after an interruption, run the same command again."
)
MOVE_HELP: Final = (
    "Move a data directory, with the store in it.\n\n"
    "Stop the servers that use it first: while one runs, nothing is moved. On the same file system it is a rename; "
    "else the files are copied, and deleted when the copy is complete."
)
DOCTOR_HELP: Final = (
    "Check the configuration and the store without starting.\n\n"
    "It takes the flags of serve and prints a line for each check: ok, warn or fail, and what to change. The exit code "
    "is 1 if a check fails."
)

DEV_HELP: Final = (
    "Run the handlers of an App for development, and reload them when the code changes.\n\n"
    "It watches the Python files of this directory, or of each --watch, and sets the variables in .env. If new code "
    "cannot start, it shows the traceback, and the old code goes on. The store is not that of serve."
)
INIT_HELP: Final = (
    "Write a small project: handlers, their tests, a Dockerfile and a compose.yaml.\n\n"
    "The directory must be new or empty, but for .git and .venv. Without DIR it is the current one. No file is "
    "overwritten."
)

COMMANDS: Final = (
    ("serve", "queuey.cli.commands.serve:serve", SERVE_HELP),
    ("dev", "queuey.cli.commands.project.dev:dev", DEV_HELP),
    ("init", "queuey.cli.commands.project.init:init", INIT_HELP),
    ("work", "queuey.cli.commands.work:work", WORK_HELP),
    ("job", "queuey.cli.commands.jobs.jobs:app", "Enqueue, show, cancel, retry and delete jobs."),
    ("queue", "queuey.cli.commands.queues:app", "Show, pause, resume and purge queues."),
    ("schedule", "queuey.cli.commands.schedules:app", "Make, show, pause, trigger and delete schedules."),
    ("dlq", "queuey.cli.commands.dlq:app", "Show, replay and delete dead jobs."),
    ("worker", "queuey.cli.commands.workers:app", "List workers, or stop one from claiming jobs."),
    ("top", "queuey.cli.commands.top:top", TOP_HELP),
    ("audit", "queuey.cli.commands.watching.audit:audit", "Show what operators did, newest first."),
    ("ui", "queuey.cli.commands.watching.ui:app", "End the sessions of the page."),
    ("key", "queuey.cli.commands.keys:app", "Create API keys."),
    ("completion", "queuey.cli.commands.completion:completion", COMPLETION_HELP),
    ("doctor", "queuey.cli.commands.doctor:doctor", DOCTOR_HELP),
    ("export", "queuey.cli.commands.transfer:export", EXPORT_HELP),
    ("import", "queuey.cli.commands.transfer:import_", IMPORT_HELP),
    ("move-store", "queuey.cli.commands.transfer:move_store", MOVE_HELP),
)
"""Each command or group of commands: its name, the import path of its function or App, and its help."""

_USAGE: Final = {"init": {"usage": usage("init", "[DIR]")}}

app = App(
    name="queuey",
    help="A job queue that any program can use over HTTP.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
for _name, _path, _help in COMMANDS:
    app.command(_path, name=_name, help=_help, **_USAGE.get(_name, {}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code. Only a bug causes a traceback."""
    open_standard_streams()
    outlive_terminal()
    try:
        check_arguments(sys.argv[1:] if arguments is None else arguments)
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # at exit, a closed pipe would cause a traceback
    except CycloptsError as error:
        explain(_described(error))
        return USAGE
    except StartupError as error:
        if error.trace:
            explain(error.trace)
        explain(f"queuey: {error.message}")
        return error.exit_code
    except BrokenPipeError:
        leave_stdout()
        return READER_GONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        return code
    return result if isinstance(result, int) else OK


def _described(error: CycloptsError) -> str:
    """Return what is wrong with a command line, and what to try."""
    lines = [f"queuey: {error}"]
    if isinstance(error, UnknownCommandError) and error.unused_tokens and error.unused_tokens[0].startswith("-"):
        name = error.unused_tokens[0].partition("=")[0]
        lines = [f"queuey: {name}: flags are put after the command, as in: queuey job list --url URL"]
    if "--api-key" in str(error):
        lines.append("API keys have no flag, because other users can see command lines: set QUEUEY_API_KEY instead.")
    lines.append(f"Try '{' '.join(('queuey', *(error.command_chain or ())))} --help'.")
    return "\n".join(lines)


def run() -> int:
    """Run the command of this process, which then only exits. Returns its exit code."""
    code = main()
    from queuey.lifecycle import ignore_signals  # late: it imports asyncio, which most commands have by now

    ignore_signals()
    return code

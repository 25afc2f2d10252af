"""The root of the command line: the list of commands, and how each ends.

A command is registered by the name of its module, which is imported when the command runs or its help is shown. The
docstring of a command is its help. stdout carries only data; explanations, errors, progress and logs go to stderr.
Exit codes: see `exits`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError

from queuey.cli.arguments import check_arguments
from queuey.cli.exits import INTERRUPTED, OK, READER_GONE, USAGE, explain, leave_stdout
from queuey.cli.failures import exit_code
from queuey.cli.streams import open_standard_streams
from queuey.errors import StartupError
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
    "Show queues and workers live. Press Ctrl-C to stop.\n\n"
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

COMMANDS: Final = (
    ("serve", "queuey.cli.commands.serve:serve", SERVE_HELP),
    ("work", "queuey.cli.commands.work:work", WORK_HELP),
    ("job", "queuey.cli.commands.jobs.jobs:app", "Enqueue, show, cancel, retry and delete jobs."),
    ("queue", "queuey.cli.commands.queues:app", "Show, pause, resume and purge queues."),
    ("dlq", "queuey.cli.commands.dlq:app", "Show, replay and delete dead jobs."),
    ("worker", "queuey.cli.commands.workers:app", "List workers, or stop one from claiming jobs."),
    ("top", "queuey.cli.commands.top:top", TOP_HELP),
    ("key", "queuey.cli.commands.keys:app", "Create API keys."),
    ("completion", "queuey.cli.commands.completion:completion", COMPLETION_HELP),
    ("doctor", "queuey.cli.commands.doctor:doctor", DOCTOR_HELP),
    ("export", "queuey.cli.commands.transfer:export", EXPORT_HELP),
    ("import", "queuey.cli.commands.transfer:import_", IMPORT_HELP),
    ("move-store", "queuey.cli.commands.transfer:move_store", MOVE_HELP),
)
"""Each command or group of commands: its name, the import path of its function or App, and its help."""

app = App(
    name="queuey",
    help="A job queue that any program can use over HTTP.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
for _name, _path, _help in COMMANDS:
    app.command(_path, name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code. Only a bug causes a traceback."""
    open_standard_streams()
    try:
        check_arguments(sys.argv[1:] if arguments is None else arguments)
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # at exit, a closed pipe would cause a traceback
    except CycloptsError as error:
        explain(f"queuey: {error}")
        if "--api-key" in str(error):
            explain("API keys have no flag, because other users can see command lines: set QUEUEY_API_KEY instead.")
        explain("Try 'queuey --help' or 'queuey COMMAND --help'.")
        return USAGE
    except StartupError as error:
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

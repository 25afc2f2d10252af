"""The root of the command line: what commands there are, and how each ends.

A command is named here by where it is, and its module is read when it runs or its help is shown. Its docstring is its
help. stdout carries data alone; explanations, errors, progress and logs go to stderr. Exit codes: see `exits`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError

from queuey.cli.exits import INTERRUPTED, OK, READER_GONE, USAGE, explain, leave_stdout
from queuey.cli.failures import told
from queuey.errors import StartupError
from queuey.version import __version__

SERVE_HELP: Final = (
    "Run the server: the HTTP API, workers and the reaper in one process.\n\n"
    "Without --redis it starts a private Valkey. Each flag --some-name is also the variable QUEUEY_SOME_NAME and "
    "the key some_name of the TOML file that --config or QUEUEY_CONFIG names; a flag wins over a variable, and a "
    "variable over the file. API keys have no flag, since other users of the machine see command lines: set "
    "QUEUEY_API_KEY or QUEUEY_API_KEYS.\n\n"
    "DURATION is a number of seconds, or 500ms, 30s, 5m, 24h, 7d. SIZE is a number of bytes, or 256kB, 1MB, 4GB "
    "(powers of 1,000), or 256KiB, 1MiB, 4GiB (powers of 1,024)."
)
TOP_HELP: Final = (
    "Watch the queues and workers; Ctrl-C ends it.\n\n"
    "Where stdout is no terminal, and with -o json, it looks once. With -o jsonl each look is a line."
)
WORK_HELP: Final = (
    "Run the handlers of an App for a server elsewhere: jobs come over HTTP, and so do their outcomes go.\n\n"
    "The key, with the scope work, is QUEUEY_API_KEY. At SIGTERM it takes no more jobs, lets running ones finish for "
    "--drain-timeout, and gives the rest back. The flags are those of serve, and so are their variables."
)
COMPLETION_HELP: Final = (
    "Print the script by which a shell completes commands and flags.\n\n"
    "bash: queuey completion bash > ~/.local/share/bash-completion/completions/queuey\n\n"
    "zsh: queuey completion zsh > _queuey, in a folder of $fpath\n\n"
    "fish: queuey completion fish > ~/.config/fish/completions/queuey.fish"
)
EXPORT_HELP: Final = (
    "Write all that a store holds to a file, for a backup or to move it.\n\n"
    "The store may be at work: each job is written as it is at one moment. The file is the whole store when nobody is. "
    "It holds payloads and results."
)
IMPORT_HELP: Final = (
    "Read a file of `queuey export` into a store, also one with another number of shards.\n\n"
    "Jobs that were running come back as queued, and their old workers are refused. Start the servers afterwards. "
    "When it was broken off, the same command goes on."
)
DOCTOR_HELP: Final = (
    "Look whether `queuey serve` would start with these flags, and what its store keeps. Takes the flags of serve.\n\n"
    "A line for each thing: ok, warn or fail, and what to change. Exit code 1 when one fails."
)

COMMANDS: Final = (
    ("serve", "queuey.cli.commands.serve:serve", SERVE_HELP),
    ("work", "queuey.cli.commands.work:work", WORK_HELP),
    ("job", "queuey.cli.commands.jobs.jobs:app", "Enqueue, show and move jobs."),
    ("queue", "queuey.cli.commands.queues:app", "Show queues, pause and resume them."),
    ("dlq", "queuey.cli.commands.dlq:app", "Show dead jobs, run them anew or delete them."),
    ("worker", "queuey.cli.commands.workers:app", "Show workers, and have them take no more jobs."),
    ("top", "queuey.cli.commands.top:top", TOP_HELP),
    ("key", "queuey.cli.commands.keys:app", "Make API keys."),
    ("completion", "queuey.cli.commands.completion:completion", COMPLETION_HELP),
    ("doctor", "queuey.cli.commands.doctor:doctor", DOCTOR_HELP),
    ("export", "queuey.cli.commands.transfer:export", EXPORT_HELP),
    ("import", "queuey.cli.commands.transfer:import_", IMPORT_HELP),
)
"""The name of each command or group of commands, where its function or App is, and its help."""

app = App(
    name="queuey",
    help="A job queue that any program can use over HTTP.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
for _name, _place, _help in COMMANDS:
    app.command(_place, name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code. Only a bug leaves with a traceback."""
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # here and not at exit, where a reader that is gone would be a traceback
    except CycloptsError as error:
        explain(f"queuey: {error}")
        if "--api-key" in str(error):
            explain("API keys have no flag, since other users of the machine see command lines: set QUEUEY_API_KEY.")
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
        code = told(error)
        if code is None:
            raise
        return code
    return result if isinstance(result, int) else OK

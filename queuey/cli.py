"""The command line.

Exit codes: 0 done, 1 failed, 2 a wrong flag or setting, 3 cannot start, 130 interrupted before the server ran.
stdout carries data alone; explanations, errors and logs go to stderr.
"""

from __future__ import annotations

import inspect
import secrets
import sys
from collections.abc import Sequence
from typing import Annotated, Final

from cyclopts import App, CycloptsError, Group, Parameter

from queuey import __version__
from queuey.credentials import new_key, parse_grant
from queuey.errors import SettingsError, StartupError
from queuey.setting_sources import flag
from queuey.settings import SERVER, SETTINGS, default, load

OK: Final = 0
INTERRUPTED: Final = 130

SERVE_HELP: Final = (
    "Run the server: the HTTP API, workers and the reaper in one process.\n\n"
    "Without --redis it starts a private Valkey. Each flag --some-name is also the variable QUEUEY_SOME_NAME and "
    "the key some_name of the TOML file that --config or QUEUEY_CONFIG names; a flag wins over a variable, and a "
    "variable over the file. API keys have no flag, since other users of the machine see command lines: set "
    "QUEUEY_API_KEY or QUEUEY_API_KEYS.\n\n"
    "DURATION is a number of seconds, or 500ms, 30s, 5m, 24h, 7d. SIZE is a number of bytes, or 256kB, 1MB, 4GB "
    "(powers of 1,000), or 256KiB, 1MiB, 4GiB (powers of 1,024)."
)
KEY_NEW_HELP: Final = (
    "Make an API key. Prints two lines: its secret, and its entry for QUEUEY_API_KEYS, which holds only a hash."
)

app = App(
    name="queuey",
    help="A job queue that any program can use over HTTP.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
key_app = App(name="key", help="Make API keys.")
app.command(key_app)


@key_app.command(name="new", help=KEY_NEW_HELP)
def key_new(
    name: Annotated[
        str | None, Parameter(help="What logs call it, for example the program that uses it. Default: a random one.")
    ] = None,
    /,
    *,
    scope: Annotated[
        Sequence[str],
        Parameter(
            help="submit, read, work or admin (which holds the others), with @ and the name of a queue for that "
            "queue alone. May be repeated.",
            metavar="SCOPE",
            negative=(),
            show_default="submit, read",
        ),
    ] = ("submit", "read"),
) -> int:
    name = name or f"key-{secrets.token_hex(3)}"
    grants = []
    for text in scope:
        try:
            grants.append(parse_grant(text))
        except ValueError as error:
            raise SettingsError(f"--scope: {text[:70]!r} {error}.") from None
    try:
        secret, entry = new_key(name, grants)
    except ValueError as error:
        raise SettingsError(f"A key {error}.") from None
    _explain("The key, shown this once. Clients send it as `x-api-key: KEY` or `authorization: Bearer KEY`:")
    print(secret, flush=True)
    _explain("Its entry for QUEUEY_API_KEYS on the server; commas separate several:")
    print(entry, flush=True)
    return OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code. Only a bug leaves with a traceback."""
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _explain(f"queuey: {error}")
        if "--api-key" in str(error):
            _explain("API keys have no flag, since other users of the machine see command lines: set QUEUEY_API_KEY.")
        _explain("Try 'queuey --help' or 'queuey COMMAND --help'.")
        return SettingsError.exit_code
    except StartupError as error:
        _explain(f"queuey: {error.message}")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return result if isinstance(result, int) else OK


def _explain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _serve_signature() -> inspect.Signature:
    """A text parameter for each setting that may be a flag. `load` reads them all, with the other sources."""
    groups = {setting.group: None for setting in SETTINGS.values()}
    panels = {name: Group(name, sort_key=number) for number, name in enumerate(groups)}
    config = Parameter(name="--config", metavar="FILE", help="TOML file with settings.", group=panels[SERVER])
    parameters = [_flag_parameter("config", config)]
    for name, setting in SETTINGS.items():
        if setting.has_flag:
            shown = Parameter(
                name=flag(name),
                metavar=setting.metavar,
                help=setting.help,
                group=panels[setting.group],
                show_default=default(name),
            )
            parameters.append(_flag_parameter(name, shown))
    return inspect.Signature(parameters)


def _flag_parameter(name: str, shown: Parameter) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, shown]
    )


def _serve(**flags: str | None) -> int:
    given = {name: value for name, value in flags.items() if value is not None}
    config = given.pop("config", None)
    settings = load(given, config=config)

    if settings.processes > 1:
        from queuey.supervisor import supervise  # late, as below

        return supervise(settings)

    from queuey.server import serve  # late, so that the other commands need not wait for it

    return serve(settings)


_serve.__signature__ = _serve_signature()  # type: ignore[attr-defined]
app.command(_serve, name="serve", help=SERVE_HELP)

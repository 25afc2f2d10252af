"""Arguments: how a usage line shows them, and those that are not text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from queuey.errors import SettingsError
from queuey.settings.sources import is_text, not_text

SHOWN: Final = 100
"""The most characters of an argument in a message."""


def check_arguments(arguments: Iterable[str]) -> None:
    """Check that each argument is text in the encoding of the locale.

    Raises SettingsError with the first that is not. JSON, URLs and the store take only text, so a file name in Latin-1,
    for example, can be no part of a payload.
    """
    for argument in arguments:
        if not is_text(argument):
            raise SettingsError(f"The argument {_shown(argument)} {not_text()}")


def usage(command: str, arguments: str) -> str:
    """Return the usage line of a command. Where an argument is optional, cyclopts shows only "[ARGS]"."""
    return f"Usage: queuey {command} [OPTIONS] {arguments}"


def _shown(argument: str) -> str:
    return ascii(argument if len(argument) <= SHOWN else f"{argument[:SHOWN]}...")

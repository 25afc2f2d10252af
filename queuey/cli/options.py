"""Flags that many commands share, and how their values are read."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Group, Parameter, Token, validators

from queuey.cli.output import Format
from queuey.settings.client_access import LOCAL_URL
from queuey.settings.settings import client_access
from queuey.settings.units import format_duration, parse_duration

if TYPE_CHECKING:
    from queuey.client import Client

COMMON: Final = Group("Common", sort_key=100)


@Parameter(name="*")
@dataclass(frozen=True)
class Server:
    """Which server to talk to."""

    url: Annotated[
        str | None,
        Parameter(
            metavar="URL", group=COMMON, show_default=False, help=f"The server. Default: QUEUEY_URL, else {LOCAL_URL}."
        ),
    ] = None

    def client(self) -> Client:
        """A client of it, to be used in `async with`. Raises SettingsError."""
        from queuey.client import Client  # late, so that help need not wait for it

        access = client_access(self.url)
        return Client(access.url, access.api_key)


HERE: Final = Server()

Output = Annotated[
    Format,
    Parameter(name=("--output", "-o"), group=COMMON, help="A table for people; JSON, or JSON lines, for programs."),
]


def _duration(_: Any, tokens: Sequence[Token]) -> float:
    return parse_duration(tokens[0].value)


def duration(help: str, default: float | None = None) -> Parameter:
    """A flag whose value is a duration, as in settings; seconds as a float. `default` is for the help."""
    shown = False if default is None else format_duration(default)
    return Parameter(metavar="DURATION", converter=_duration, show_default=shown, help=help)


def count(help: str, high: int) -> Parameter:
    """A flag whose value is a number from 1 to `high`."""
    return Parameter(metavar="NUMBER", validator=validators.Number(gte=1, lte=high), help=help)


def switch(help: str) -> Parameter:
    """A flag without a value, which is off when it is not there."""
    return Parameter(negative=(), show_default=False, help=help)


@contextmanager
def interrupted_at_once() -> Iterator[None]:
    """For reads that block: within, Ctrl-C ends the process at once.

    asyncio would take it for a request to cancel the command, and a read that blocks would never come to know.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


Yes = Annotated[bool, switch("Do it. Without, only say what it would do.")]
Queue = Annotated[str | None, Parameter(metavar="QUEUE", help="Of this queue alone.")]
JobType = Annotated[str | None, Parameter(name="--type", metavar="TYPE", help="Of this type alone.")]
JobId = Annotated[str, Parameter(metavar="ID", help="The id of the job.")]
JobIds = Annotated[list[str], Parameter(metavar="ID", help="The ids of the jobs.", negative=())]

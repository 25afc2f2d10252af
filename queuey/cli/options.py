"""Flags that many commands share, and the readers of their values."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Group, Parameter, Token, validators

from queuey.cli.output import Format
from queuey.protocol.models import Priority
from queuey.protocol.server_url import LOCAL_URL
from queuey.settings.settings import client_access
from queuey.settings.units import format_duration, parse_duration

if TYPE_CHECKING:
    from queuey.client import Client

RETRY_FOR: Final = 1.0
"""Seconds in which a request is sent again: people and scripts learn soon that no server is there."""
COMMON: Final = Group("Common", sort_key=100)


@Parameter(name="*")
@dataclass(frozen=True)
class Server:
    """The server that the command calls."""

    url: Annotated[
        str | None,
        Parameter(
            metavar="URL",
            group=COMMON,
            show_default=False,
            help=f"URL of the server. Default: QUEUEY_URL, else {LOCAL_URL}.",
        ),
    ] = None

    def client(self) -> Client:
        """Return a client of the server, for use in `async with`. Raises SettingsError."""
        from queuey.client import Client  # late, so that help need not wait for it

        access = client_access(self.url)
        return Client(access.url, access.api_key, retry_for=RETRY_FOR)


DEFAULT_SERVER: Final = Server()

Output = Annotated[
    Format,
    Parameter(
        name=("--output", "-o"), group=COMMON, help="Output format: a table, JSON, or one JSON document per line."
    ),
]


def _duration(_: Any, tokens: Sequence[Token]) -> float:
    return parse_duration(tokens[0].value)


def duration(help: str, default: float | None = None) -> Parameter:
    """Define a flag for a duration, spelled as in settings. Its value is seconds; `default` is for the help."""
    shown = False if default is None else format_duration(default)
    return Parameter(metavar="DURATION", converter=_duration, show_default=shown, help=help)


def count(help: str, high: int) -> Parameter:
    """Define a flag for a number from 1 to `high`."""
    return Parameter(metavar="NUMBER", validator=validators.Number(gte=1, lte=high), help=help)


def switch(help: str) -> Parameter:
    """Define a flag without a value, which is off by default."""
    return Parameter(negative=(), show_default=False, help=help)


@contextmanager
def interrupted_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process at once, for reads that block.

    asyncio would only cancel the task of the command, and a blocking read would never notice.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


Yes = Annotated[bool, switch("Confirm. Without it, only print what would be done.")]
Queue = Annotated[str | None, Parameter(metavar="QUEUE", help="Only jobs of this queue.")]
JobType = Annotated[str | None, Parameter(name="--type", metavar="TYPE", help="Only jobs of this type.")]
JobId = Annotated[str, Parameter(metavar="ID", help="Job id.")]
JobIds = Annotated[list[str], Parameter(metavar="ID", help="Job ids.", negative=())]

QueueOfJob = Annotated[str | None, Parameter(metavar="QUEUE", help="Queue for the job. Default: that of the type.")]
PriorityOfJob = Annotated[Priority, Parameter(help="Priority within the queue.")]
ExpiresIn = Annotated[float | None, duration("Cancel the job if it has not started within this time.")]
MaxAttempts = Annotated[int | None, count("Maximum number of attempts.", 1000)]
Timeout = Annotated[float | None, duration("Timeout of one attempt.")]
Retention = Annotated[float | None, duration("How long to keep the succeeded or cancelled job.")]
Tags = Annotated[
    list[str] | None, Parameter(name="--tag", metavar="TAG", negative=(), help="Tag; give the flag up to 8 times.")
]
MetadataEntries = Annotated[
    list[str] | None, Parameter(metavar="KEY=VALUE", negative=(), help="Entry of the metadata; up to 8 times.")
]

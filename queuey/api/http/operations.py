"""What an endpoint takes and gives, declared beside it. openapi.py makes the API's description of all of them.

The declaration is held to: a parameter that is not declared is refused with 422, before the endpoint sees the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from msgspec import UNSET, Meta, Struct

from queuey.errors import Invalid, ParameterFault, QueueyError
from queuey.protocol.models import NAME_PATTERN

QueueName = Annotated[str, Meta(pattern=NAME_PATTERN)]

_SHOWN: Final = 64


class Parameter(Struct, frozen=True):
    """One parameter behind the question mark, or one header: its name, its type, with the bounds of msgspec's Meta, and
    what it does. `default`: what holds when it is not given."""

    name: str
    type: Any
    description: str
    default: Any = UNSET
    example: Any = UNSET


class Media(Struct, frozen=True):
    """An answer or a body that is not JSON: its media type and what is in it. `schema`: of one event, for a stream."""

    type: str
    description: str
    schema: Any = str


class Operation(Struct, frozen=True):
    """One endpoint.

    name        unique; what code generators call the function: `cancel_job`
    summary     one line, without a full stop
    answers     status -> the Struct of the body, or any type msgspec knows; a tuple = one of these;
                None = no body; Media = not JSON
    description more, where the summary does not do
    query       the parameters behind the question mark; every other is refused
    headers     those of the request that it reads, beside keys and media types
    gives       headers of a good answer
    body        type of the JSON body; a tuple = one of these; None = there is none, and one that comes is refused
    body_needed False = it may be left out
    body_also   the body may also come as this
    example     a body that is accepted
    sample      a body of the first answer, shown as an example
    errors      that it may raise, beside those of every endpoint: NotFound, WrongState, Full ...
    group       heading under which it is shown
    shown       False = not in the description: a page or a file of the documentation itself
    """

    name: str
    summary: str
    answers: Mapping[int, Any]
    description: str = ""
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    gives: tuple[Parameter, ...] = ()
    body: Any = None
    body_needed: bool = True
    body_also: Media | None = None
    example: Any = UNSET
    sample: Any = UNSET
    errors: tuple[type[QueueyError], ...] = ()
    group: str = "Jobs"
    shown: bool = True


def refuse_unknown(query_string: bytes, operation: Operation) -> None:
    """Check that no other parameters came than those declared. Raises Invalid, which names the first other."""
    known = [parameter.name for parameter in operation.query]
    for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            there = f"there is {', '.join(known)}" if known else "there are none here"
            detail = f"is no known parameter; {there}"
            raise Invalid(f"{name[:_SHOWN]} {detail}.", [ParameterFault(name[:_SHOWN], detail)])

"""What an endpoint takes and returns, declared beside it. api/openapi/ describes the API from these declarations.

A parameter that is not declared is refused with 422 before the endpoint sees the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

from msgspec import UNSET, Meta, Struct

from queuey.api.http.query import unknown_parameter
from queuey.errors import QueueyError
from queuey.protocol.models import NAME_PATTERN

QueueName = Annotated[str, Meta(pattern=NAME_PATTERN)]


class Parameter(Struct, frozen=True):
    """One query parameter or header: its name, its type with the bounds of msgspec's Meta, and what it does.

    `default`: the value when it is not given.
    """

    name: str
    type: Any
    description: str
    default: Any = UNSET
    example: Any = UNSET


class Media(Struct, frozen=True):
    """An answer or a body that is not JSON: its media type and its content. `schema`: of one event, for a stream."""

    type: str
    description: str
    schema: Any = str


class Operation(Struct, frozen=True):
    """One endpoint.

    name        unique name, which code generators give to the function: `cancel_job`
    summary     one line, without a full stop
    answers     status -> the Struct of the body, or any type that msgspec knows; a tuple = one of these;
                None = no body; Media = not JSON
    description more, where the summary is not enough
    query       the query parameters; all others are refused
    headers     the headers of the request that it reads, besides keys and media types
    gives       headers of a successful answer
    body        type of the JSON body; a tuple = one of these; None = a body is refused
    body_needed False = the body may be left out
    body_also   another form that the body may have
    example     a body that is accepted
    sample      a body of the first answer, shown as an example
    errors      errors that it may raise, besides those of every endpoint: NotFound, WrongState, Full ...
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
    """Check that only declared parameters came. Raises Invalid, which names the first unknown one."""
    known = [parameter.name for parameter in operation.query]
    for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            raise unknown_parameter(name, known)

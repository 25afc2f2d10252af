"""Declarations of the parameters, bodies and answers of endpoints, from which api/openapi/ describes the API.

An endpoint that declares parameters reads them with `parameters_of`, which refuses all others. An endpoint that
declares none does not see a request that has some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

from msgspec import UNSET, Meta, Struct

from queuey.api.http.query import unknown_parameter
from queuey.errors import QueueyError
from queuey.protocol.models import NAME_PATTERN
from queuey.protocol.schema_faults import MAX_FAULTS, together

QueueName = Annotated[str, Meta(pattern=NAME_PATTERN)]


class Parameter(Struct, frozen=True):
    """One query parameter or header: its name, its type with the bounds of msgspec's Meta, and its description.

    `default`: the value when it is not given.
    """

    name: str
    type: Any
    description: str
    default: Any = UNSET
    example: Any = UNSET


class Media(Struct, frozen=True):
    """An answer or a body that is not JSON: its media type and its content. `schema`: of one event of a stream.

    `also`: the type of the same answer as JSON, for those that ask for it.
    """

    type: str
    description: str
    schema: Any = str
    also: Any = None


class Operation(Struct, frozen=True):
    """The declaration of one endpoint."""

    name: str
    """The unique name, which code generators give to the function, such as `cancel_job`."""
    summary: str
    """The summary on one line, without a full stop."""
    answers: Mapping[int, Any]
    """The type of the body by status: a Struct, or any type that msgspec knows.

    A tuple means one of several types, None means no body, and Media means a body that is not JSON.
    """
    description: str = ""
    """Further text, if the summary is not enough."""
    query: tuple[Parameter, ...] = ()
    """The query parameters. All others are refused."""
    headers: tuple[Parameter, ...] = ()
    """The headers of the request that the endpoint reads, besides keys and media types."""
    gives: tuple[Parameter, ...] = ()
    """The headers of a successful answer."""
    body: Any = None
    """The type of the JSON body. A tuple means one of several types, and None means that a body is refused."""
    body_needed: bool = True
    """Whether the body is required."""
    body_also: Media | None = None
    """Another form that the body may have."""
    example: Any = UNSET
    """A body that is accepted."""
    sample: Any = UNSET
    """The body of the first answer, shown as an example."""
    errors: tuple[type[QueueyError], ...] = ()
    """The errors that the endpoint may raise, besides those of every endpoint: NotFound, WrongState, Full ..."""
    group: str = "Jobs"
    """The heading under which it is shown."""
    shown: bool = True
    """Whether it is in the description. A page or a file of the documentation itself is not."""


def refuse_parameters(query_string: bytes) -> None:
    """Refuse a query for an endpoint that declares no parameters. Raises Invalid, which names each parameter."""
    names = [name for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)]
    if names:
        raise together([unknown_parameter(name, ()) for name in names[:MAX_FAULTS]])

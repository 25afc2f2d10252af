"""The query parameters of a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request

from queuey.errors import Invalid, ParameterFault, RequestError
from queuey.protocol.models import NAME_PATTERN, NAME_RULE
from queuey.protocol.schema_faults import MAX_FAULTS, together

Word = TypeVar("Word", bound=str)

MAX_TEXT: Final = 1024
TIME_RULE: Final = "a date, a time with seconds, and a time zone: Z for UTC, or an offset whose + is written %2B"
_SHOWN: Final = 64
"""The maximum number of characters of an unknown name that an error repeats."""
_NAME: Final = re.compile(NAME_PATTERN)
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


@contextmanager
def parameters_of(request: Request, *known: str) -> Iterator[Parameters]:
    """Yield the query parameters of a request: only known ones, and each at most once.

    Raises Invalid at the end of the block if the block has raised one, or asked for values that are not valid. It names
    every fault.
    """
    parameters = Parameters(request, known)
    try:
        yield parameters
    except Invalid as error:
        parameters.found.append(error)
    if parameters.found:
        raise together(parameters.found) from None


class Parameters:
    """The query parameters of one request. A missing one is None, or has the default.

    A value that is not valid counts as missing until `parameters_of` raises. So do not use the values before.
    """

    def __init__(self, request: Request, known: Sequence[str]) -> None:
        self.found: list[RequestError] = []
        """The faults."""
        self._given: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if len(self.found) >= MAX_FAULTS:
                break
            if name not in known:
                self.found.append(unknown_parameter(name, known))
            elif name in self._given:
                self.found.append(invalid_parameter(name, "may be given only once"))
            else:
                self._given[name] = value

    def raw(self, name: str) -> str | None:
        """Return the text of a parameter, which may be empty."""
        return self._given.get(name)

    def text(self, name: str, most: int = MAX_TEXT) -> str | None:
        """Return the text of a parameter that may not be empty."""
        return self._matching(name, lambda value: 0 < len(value) <= most, f"must have 1 to {most} characters")

    def form(self, name: str, pattern: re.Pattern[str], words: str) -> str | None:
        """Return a text of this pattern. `words`: the allowed values."""
        return self._matching(name, pattern.fullmatch, f"must be {words}")

    def name(self, name: str) -> str | None:
        """Return the name of a queue or a type."""
        return self.form(name, _NAME, NAME_RULE)

    def one_of(self, name: str, words: Sequence[Word]) -> Word | None:
        """Return one of the words."""
        value = self._matching(name, words.__contains__, f"must be one of {', '.join(words)}")
        return next((word for word in words if word == value), None)

    def seconds(self, name: str, most: float, words: str) -> float | None:
        """Return a number of seconds from 0."""
        value = self._matching(name, lambda text: _NUMBER.fullmatch(text) and float(text) <= most, f"must be {words}")
        return None if value is None else float(value)

    def time(self, name: str) -> datetime | None:
        """Return a time with its zone."""
        value = self._matching(name, _time_of, f"must be {TIME_RULE}")
        return None if value is None else _time_of(value)

    def whole_number(self, name: str, *, least: int, most: int, default: int) -> int:
        """Return a whole number within the bounds."""

        def is_within(text: str) -> bool:
            return text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most

        text = self._matching(name, is_within, f"must be a whole number from {least} to {most}")
        return default if text is None else int(text)

    def _matching(self, name: str, is_valid: Callable[[str], object], rule: str) -> str | None:
        value = self._given.get(name)
        if value is None or is_valid(value):
            return value
        self.found.append(invalid_parameter(name, rule))
        return None


def _time_of(text: str) -> datetime | None:
    try:
        found: datetime = msgspec.convert(text, Annotated[datetime, Meta(tz=True)])
    except msgspec.ValidationError:
        return None
    return found


def unknown_parameter(name: str, known: Sequence[str]) -> Invalid:
    """Return the error for a parameter that the route does not have."""
    hint = f"Allowed: {', '.join(known)}" if known else "This route takes no parameters"
    shown = name[:_SHOWN]
    return Invalid(f"Unknown parameter {shown!r}. {hint}.", [ParameterFault(shown, f"is unknown. {hint}")])


def invalid_parameter(parameter: str, detail: str) -> Invalid:
    """Return the error for a parameter. `detail` is read after its name, and ends without a full stop."""
    return Invalid(f"{parameter} {detail}.", [ParameterFault(parameter, detail)])

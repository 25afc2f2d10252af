"""The query parameters of a request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeVar

from starlette.requests import Request

from queuey.errors import Invalid, ParameterFault
from queuey.protocol.models import NAME_PATTERN, NAME_RULE

Word = TypeVar("Word", bound=str)

MAX_TEXT: Final = 1024
_SHOWN: Final = 64
"""The maximum number of characters of an unknown name that an error repeats."""
_NAME = re.compile(NAME_PATTERN)


class Parameters:
    """The query parameters of one request: only known ones, and each at most once.

    Every method raises Invalid, which names the wrong parameter. A missing parameter is None, or has the default.
    """

    def __init__(self, request: Request, *known: str) -> None:
        self._given: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name not in known:
                raise unknown_parameter(name, known)
            if name in self._given:
                raise invalid_parameter(name, "may be given only once")
            self._given[name] = value

    def raw(self, name: str) -> str | None:
        """Return the text of a parameter, which may be empty."""
        return self._given.get(name)

    def text(self, name: str, most: int = MAX_TEXT) -> str | None:
        """Return the text of a parameter that may not be empty."""
        value = self._given.get(name)
        if value is not None and not 0 < len(value) <= most:
            raise invalid_parameter(name, f"must have 1 to {most} characters")
        return value

    def name(self, name: str) -> str | None:
        """Return the name of a queue or a type."""
        value = self._given.get(name)
        if value is not None and not _NAME.match(value):
            raise invalid_parameter(name, f"must be {NAME_RULE}")
        return value

    def one_of(self, name: str, words: Sequence[Word]) -> Word | None:
        """Return one of the words."""
        value = self._given.get(name)
        if value is None:
            return None
        for word in words:
            if word == value:
                return word
        raise invalid_parameter(name, f"must be one of {', '.join(words)}")

    def whole_number(self, name: str, *, least: int, most: int, default: int) -> int:
        """Return a whole number within the bounds."""
        text = self._given.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
            raise invalid_parameter(name, f"must be a whole number from {least} to {most}")
        return int(text)


def whole_number(request: Request, name: str, *, least: int, most: int, default: int) -> int:
    """Return the only parameter of a route, a whole number. Raises Invalid, which names the wrong parameter."""
    return Parameters(request, name).whole_number(name, least=least, most=most, default=default)


def one_of(request: Request, name: str) -> str | None:
    """Return the text of the only parameter of a route, or None if it is missing. Raises Invalid."""
    return Parameters(request, name).raw(name)


def unknown_parameter(name: str, known: Sequence[str]) -> Invalid:
    """Return the error for a parameter that the route does not have."""
    hint = f"Allowed: {', '.join(known)}" if known else "This route takes no parameters"
    shown = name[:_SHOWN]
    return Invalid(f"Unknown parameter {shown!r}. {hint}.", [ParameterFault(shown, f"is unknown. {hint}")])


def invalid_parameter(parameter: str, detail: str) -> Invalid:
    """Return the error for a parameter. `detail` is read after its name, and ends without a full stop."""
    return Invalid(f"{parameter} {detail}.", [ParameterFault(parameter, detail)])

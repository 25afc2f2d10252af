"""The parameters behind a path's question mark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeVar

from starlette.requests import Request

from queuey.errors import Invalid, ParameterFault
from queuey.protocol.models import NAME_PATTERN, NAME_RULE

Word = TypeVar("Word", bound=str)

MAX_TEXT: Final = 1024
_NAME = re.compile(NAME_PATTERN)


class Parameters:
    """Those of one request, each given once at most, and none but the known ones. Every method raises Invalid, which
    names the parameter at fault; None or the default stands for one that was not given."""

    def __init__(self, request: Request, *known: str) -> None:
        self._given: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name not in known:
                there = f"there is {', '.join(known)}" if known else "there are none here"
                raise invalid_parameter(name[:64], f"is no known parameter; {there}")
            if name in self._given:
                raise invalid_parameter(name, "may be given once")
            self._given[name] = value

    def raw(self, name: str) -> str | None:
        """As it came, empty or not."""
        return self._given.get(name)

    def text(self, name: str, most: int = MAX_TEXT) -> str | None:
        value = self._given.get(name)
        if value is not None and not 0 < len(value) <= most:
            raise invalid_parameter(name, f"must have 1 to {most} characters")
        return value

    def name(self, name: str) -> str | None:
        """The name of a queue or a type."""
        value = self._given.get(name)
        if value is not None and not _NAME.match(value):
            raise invalid_parameter(name, f"must be {NAME_RULE}")
        return value

    def one_of(self, name: str, words: Sequence[Word]) -> Word | None:
        value = self._given.get(name)
        if value is None:
            return None
        for word in words:
            if word == value:
                return word
        raise invalid_parameter(name, f"must be one of {', '.join(words)}")

    def whole_number(self, name: str, *, least: int, most: int, default: int) -> int:
        text = self._given.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
            raise invalid_parameter(name, f"must be one whole number from {least} to {most}")
        return int(text)


def whole_number(request: Request, name: str, *, least: int, most: int, default: int) -> int:
    """The one parameter that the route takes. Raises Invalid, which names the parameter at fault."""
    return Parameters(request, name).whole_number(name, least=least, most=most, default=default)


def one_of(request: Request, name: str) -> str | None:
    """The one parameter that the route takes, as it came; None: not given. Raises Invalid."""
    return Parameters(request, name).raw(name)


def invalid_parameter(parameter: str, detail: str) -> Invalid:
    return Invalid(f"{parameter} {detail}.", [ParameterFault(parameter, detail)])

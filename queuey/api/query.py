"""The parameters behind a path's question mark."""

from __future__ import annotations

from starlette.requests import Request

from queuey.errors import Invalid, ParameterFault


def whole_number(request: Request, name: str, *, least: int, most: int, default: int) -> int:
    """The one parameter that the route takes. Raises Invalid, which names the parameter at fault."""
    for given in request.query_params:
        if given != name:
            raise _invalid(given[:64], f"is no known parameter; there is {name}")
    values = request.query_params.getlist(name)
    if not values:
        return default
    text = values[0]
    if len(values) > 1 or not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
        raise _invalid(name, f"must be one whole number from {least} to {most}")
    return int(text)


def one_of(request: Request, name: str) -> str | None:
    """The one parameter that the route takes, as it came; None: not given. Raises Invalid."""
    for given in request.query_params:
        if given != name:
            raise _invalid(given[:64], f"is no known parameter; there is {name}")
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise _invalid(name, "may be given once")
    return values[0] if values else None


def _invalid(parameter: str, detail: str) -> Invalid:
    return Invalid(f"{parameter} {detail}.", [ParameterFault(parameter, detail)])

"""The reading of a handler's parameters at its registration: the payload, the context or a provider fills each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from inspect import Parameter
from typing import Any, Final

import msgspec

from queuey.errors import StartupError
from queuey.worker.handlers.parameters.annotations import (
    CONTEXT_NAMES,
    is_context,
    resolved,
    says_nothing,
    shape,
    signature_of,
)
from queuey.worker.providers.depends import Depends, depends_of

POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_UNTYPED: Final = (Parameter.empty, Any, "Any", "typing.Any")


class Parameters(msgspec.Struct, frozen=True):
    """The parameters of a handler."""

    fields: tuple[Parameter, ...]
    """The parameters that the payload fills, with their types. One takes all of it, several take its fields."""
    context: str | None
    """The name of the parameter for the Context."""
    is_plain: bool
    """Whether the call is (payload) or (payload, ctx), by position."""
    provided: dict[str, Depends]
    """The parameters that providers fill."""


def read(function: Callable[..., Any]) -> Parameters:
    """Return a function's parameters. Raises StartupError, which says what to change."""
    signature = signature_of(function)
    given = tuple(signature.parameters.values())
    _check_kinds(function, given, signature)
    provided = depends_of(function, given)
    others = [parameter for parameter in given if parameter.name not in provided]
    context = _context(function, others)
    filled = [parameter for parameter in others if parameter is not context]
    if not filled:
        raise StartupError(f"a handler takes a payload, and this takes {shape(signature)}: add one, as in (job: None)")
    is_plain = (
        not provided and len(filled) == 1 and given[0] is filled[0] and all(one.kind in POSITIONAL for one in given)
    )
    for parameter in given:
        if parameter.kind is Parameter.POSITIONAL_ONLY and not is_plain:
            raise StartupError(f"{parameter.name!r} cannot be positional-only: remove the / from {shape(signature)}")
    fields = tuple(one.replace(annotation=resolved(function, one)) for one in filled)
    return Parameters(fields, None if context is None else context.name, is_plain, provided)


def _check_kinds(function: Callable[..., Any], given: Sequence[Parameter], signature: inspect.Signature) -> None:
    for parameter in given:
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            raise StartupError(f"a handler names its parameters: {parameter} in {shape(signature)} cannot be filled")
    owner = getattr(function, "__qualname__", "").rpartition(".")[0]
    if given and given[0].name in ("self", "cls") and owner and not owner.endswith("<locals>"):
        raise StartupError(
            f"a method cannot be a handler, since nothing fills {given[0].name!r}: use a function, or register the "
            'method of an object, as in app.job("type")(mailer.send)'
        )


def _context(function: Callable[..., Any], given: Sequence[Parameter]) -> Parameter | None:
    """Return the parameter for the Context: the one with that annotation.

    Without one, it is a later parameter that is named ctx or context, or the second of two that are given by position,
    if it has no default and no annotation that says what it is.
    """
    found = [parameter for parameter in given if is_context(function, parameter)]
    if len(found) > 1:
        raise StartupError(f"{found[0].name!r} and {found[1].name!r} are both annotated with Context: keep one")
    if found:
        return found[0]
    later = [one for one in given[1:] if one.default is Parameter.empty]
    named = [one for one in later if one.name in CONTEXT_NAMES and says_nothing(function, one)]
    if named:
        return named[0]
    is_second = len(given) == 2 and len(later) == 1 and later[0].kind in POSITIONAL
    return later[0] if is_second and later[0].annotation in _UNTYPED else None

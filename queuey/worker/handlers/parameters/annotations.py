"""The annotations of parameters: what they say, and what they are for."""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Callable
from functools import partial
from inspect import Parameter
from types import SimpleNamespace
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from queuey.errors import StartupError
from queuey.worker.handlers.context import Context

CONTEXT_NAMES: Final = ("ctx", "context")
"""The names of parameters that are the Context if no annotation says otherwise."""
_NAMES_CONTEXT: Final = re.compile(r"(?:\w+\.)*Context(?:\[.*\])?")


def is_context(function: Callable[..., Any], parameter: Parameter) -> bool:
    """Return whether it is annotated with Context, which may be imported for type checkers only."""
    if parameter.annotation is Parameter.empty:
        return False
    try:
        annotation = resolved(function, parameter)
    except StartupError:
        text = parameter.annotation
        return isinstance(text, str) and _NAMES_CONTEXT.fullmatch(text.removesuffix("| None").strip()) is not None
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return any((get_origin(member) or member) is Context for member in members)


def says_nothing(function: Callable[..., Any], parameter: Parameter) -> bool:
    """Return whether the annotation is missing, or Any, or known to type checkers only."""
    try:
        return resolved(function, parameter) is Any
    except StartupError:
        return True


def resolved(function: Callable[..., Any], parameter: Parameter) -> Any:
    """Return the type that a parameter is annotated with; Any without an annotation.

    Each annotation is resolved by itself, since others may use names that only type checkers import.
    """
    if parameter.annotation is Parameter.empty:
        return Any
    probe = SimpleNamespace(__annotations__={"payload": parameter.annotation})
    try:
        return get_type_hints(probe, globalns=_scope(function), include_extras=True)["payload"]
    except Exception as error:
        raise StartupError(
            f"the annotation of {parameter.name!r} ({parameter.annotation}) cannot be resolved ({error}): "
            "define its type at the top of the module, and import it at run time"
        ) from error


def _scope(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names that its annotations may use."""
    plain: Any = inspect.unwrap(function)
    if isinstance(plain, partial):
        plain = plain.func
    if isinstance(plain, type):
        return vars(sys.modules[plain.__module__])
    if not hasattr(plain, "__globals__"):
        plain = type(plain).__call__
    return getattr(plain, "__globals__", {})


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature, whose annotations may be text."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def shape(signature: inspect.Signature) -> str:
    """Return the parameters as they are written."""
    return str(signature.replace(return_annotation=inspect.Signature.empty))

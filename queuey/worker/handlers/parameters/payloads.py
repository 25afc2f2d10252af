"""Payloads: their types, their decoding, and the call of a handler with their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter
from operator import attrgetter
from typing import Any, Final, Protocol

import msgspec

from queuey.errors import StartupError
from queuey.worker.handlers.parameters.pydantic_types import PydanticType, fields_type, is_for_pydantic
from queuey.worker.handlers.parameters.reading import Parameters

Run = Callable[..., Any]

_IMMUTABLE: Final = (type(None), bool, int, float, str)
"""The types of defaults that a description can show."""


class PayloadType(Protocol):
    """The type of a payload."""

    def decode(self, text: str | bytes | msgspec.Raw, /) -> Any:
        """Return the value of JSON text. Raises msgspec.DecodeError, which names the place of the fault."""

    def schema(self, ref_template: str) -> dict[str, Any]:
        """Return its JSON schema. Names in it are under `$defs`, and referred to by the template, as `{model}`."""


class MsgspecType:
    """A type that msgspec checks. Raises an exception if it cannot."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation
        self.decode = msgspec.json.Decoder(annotation).decode
        # Decoder accepts any class and fails at the first job; making the schema fails for undecodable types.
        msgspec.json.schema(annotation)

    def schema(self, ref_template: str) -> dict[str, Any]:
        """Return its JSON schema."""
        template = ref_template.replace("{model}", "{name}")
        (schema,), named = msgspec.json.schema_components([self._annotation], ref_template=template)
        return {**schema, "$defs": named} if named else schema


def payload_type(fields: Sequence[Parameter]) -> PayloadType:
    """Return the type of the payload: that of the only parameter, or an object with a field for each of several.

    Raises StartupError if it cannot be read from JSON.
    """
    annotations = [field.annotation for field in fields]
    by_pydantic = is_for_pydantic(annotations)
    annotation: Any = annotations[0]
    try:
        if len(fields) > 1:
            annotation = fields_type(fields) if by_pydantic else _struct(fields)
        return PydanticType(annotation) if by_pydantic else MsgspecType(annotation)
    except Exception as error:
        reason = str(error).rpartition("\n")[2]
        raise StartupError(
            f"the payload's type {annotation!r} cannot be decoded from JSON ({reason}): use a msgspec.Struct, "
            "a dataclass, a TypedDict, a pydantic model or plain types"
        ) from error


def _struct(fields: Sequence[Parameter]) -> type:
    made = [(field.name, field.annotation, _default(field)) for field in fields]
    return msgspec.defstruct("Fields", made, forbid_unknown_fields=True, kw_only=True)


def _default(field: Parameter) -> Any:
    if field.default is Parameter.empty:
        return msgspec.field()
    if isinstance(field.default, _IMMUTABLE):
        return msgspec.field(default=field.default)
    return msgspec.field(default_factory=lambda: field.default)  # the object itself, as in a call of the function


def runner(function: Callable[..., Any], parameters: Parameters) -> Run:
    """Return what runs the function with a decoded payload, and with the Context if it takes one.

    If it has providers, what runs it takes the payload and, by their names, all other values (providers/running.py).
    """
    if parameters.is_plain:
        return function
    arguments = _by_name(parameters)
    if parameters.provided:
        return lambda payload, **others: function(**arguments(payload), **others)
    context = parameters.context
    if context is None:
        return lambda payload: function(**arguments(payload))
    return lambda payload, ctx: function(**arguments(payload), **{context: ctx})


def _by_name(parameters: Parameters) -> Callable[[Any], dict[str, Any]]:
    """Return what takes the values of the parameters from a decoded payload."""
    names = [field.name for field in parameters.fields]
    if len(names) == 1:
        return lambda payload: {names[0]: payload}
    values = attrgetter(*names)
    return lambda payload: dict(zip(names, values(payload), strict=True))

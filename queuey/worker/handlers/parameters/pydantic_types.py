"""Payloads that pydantic checks. It is never imported here: if an App has not imported it, no type can be of it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from inspect import Parameter
from typing import Annotated, Any, Final, Literal, NewType, get_args, get_origin, get_type_hints

import msgspec

from queuey.errors import StartupError
from queuey.protocol.json.payload_faults import PayloadFault, PayloadMismatch

_OWN_MODULES: Final = ("pydantic", "pydantic_core")
_CONSTRAINTS: Final = "annotated_types"
"""Constraints such as Gt, of which pydantic's PositiveInt is made. msgspec ignores them."""
_MARKS: Final = ("__get_pydantic_core_schema__", "__pydantic_validator__")


def is_for_pydantic(annotations: Sequence[Any]) -> bool:
    """Return whether pydantic must check values of these types. Raises StartupError if msgspec must do so too."""
    if "pydantic" not in sys.modules:
        return False
    parts = [part for annotation in annotations for part in _parts(annotation, {})]
    own = [part for part in parts if _is_own(part)]
    structs = [part for part in parts if _is_msgspec(part)]
    if own and structs:
        raise StartupError(
            f"the payload has {_name(own[0])} of pydantic and {_name(structs[0])} of msgspec, and neither library "
            "checks types of the other: use one of them"
        )
    return bool(own) or (not structs and any(_root(type(part)) == _CONSTRAINTS for part in parts))


def fields_type(fields: Sequence[Parameter]) -> type:
    """Return a class with these fields, whose payloads pydantic checks."""
    made = dataclasses.make_dataclass(
        "Fields", [(field.name, field.annotation, _default(field)) for field in fields], kw_only=True
    )
    checked: type = sys.modules["pydantic"].dataclasses.dataclass(made, config={"extra": "forbid"})
    return checked


def _default(field: Parameter) -> Any:
    if field.default is Parameter.empty:
        return dataclasses.field()
    return dataclasses.field(default_factory=lambda: field.default)


class PydanticType:
    """A type that pydantic checks. Raises TypeError if it cannot."""

    def __init__(self, annotation: Any) -> None:
        pydantic = sys.modules["pydantic"]
        if not hasattr(pydantic, "TypeAdapter"):
            raise TypeError("pydantic 2 is needed")
        try:
            self._adapter = pydantic.TypeAdapter(annotation)
        except Exception as error:
            raise TypeError(str(error).partition("\n")[0]) from error
        self._mismatch: type[Any] = pydantic.ValidationError
        self._validate: Callable[..., Any] = self._adapter.validate_json

    def decode(self, text: str | bytes | msgspec.Raw) -> Any:
        """Return the value of JSON text. Raises PayloadMismatch, which has the place of each fault."""
        plain = bytes(text) if isinstance(text, msgspec.Raw) else text
        try:
            return self._validate(plain)
        except self._mismatch as error:
            raise PayloadMismatch(_faults(error, plain)) from None

    def schema(self, ref_template: str) -> dict[str, Any]:
        """Return its JSON schema."""
        made: dict[str, Any] = self._adapter.json_schema(ref_template=ref_template)
        return made


def _faults(error: Any, text: str | bytes) -> list[PayloadFault]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    try:
        payload = msgspec.json.decode(text)
    except msgspec.DecodeError:
        payload = None
    return [PayloadFault(_pointer(fault["loc"], payload, fault["type"] == "missing"), fault["msg"]) for fault in found]


def _pointer(steps: Sequence[str | int], value: Any, is_missing: bool) -> str:
    """Return the JSON pointer for pydantic's steps, which also name members of unions and the like.

    Only a step that is in the value is a place, and the last one to a field that is missing.
    """
    pointer = ""
    for index, step in enumerate(steps):
        if isinstance(value, dict) and (step in value or (is_missing and index == len(steps) - 1)):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            continue
        pointer += f"/{str(step).replace('~', '~0').replace('/', '~1')}"
    return pointer


def _parts(annotation: Any, seen: dict[int, Any]) -> Iterator[Any]:
    """Yield the classes and the constraints that a type is made of, and those of their fields."""
    if id(annotation) in seen:
        return
    seen[id(annotation)] = annotation  # kept, since an id may be used again
    origin = get_origin(annotation)
    if origin is Literal:
        return
    if origin is Annotated:
        yield from annotation.__metadata__
        yield from _parts(annotation.__origin__, seen)
        return
    if origin is not None:
        for part in (origin, *get_args(annotation)):
            yield from _parts(part, seen)
    elif isinstance(annotation, NewType):
        yield from _parts(annotation.__supertype__, seen)
    elif hasattr(annotation, "__value__"):  # an alias of the statement `type`
        yield from _parts(annotation.__value__, seen)
    elif isinstance(annotation, type):
        yield annotation
        if not _is_own(annotation):
            for inner in _hints(annotation):
                yield from _parts(inner, seen)


def _hints(kind: type) -> list[Any]:
    """Return the types of the fields of a class; none if it has no annotations."""
    if not getattr(kind, "__annotations__", None):
        return []
    try:
        return list(get_type_hints(kind, include_extras=True).values())
    except Exception:  # msgspec or pydantic will say what is wrong with it
        return []


def _is_own(part: Any) -> bool:
    if isinstance(part, type):
        return _root(part) in _OWN_MODULES or any(hasattr(part, mark) for mark in _MARKS)
    return _root(type(part)) in _OWN_MODULES or hasattr(part, "__get_pydantic_core_schema__")


def _is_msgspec(part: Any) -> bool:
    return isinstance(part, msgspec.Meta) or (isinstance(part, type) and issubclass(part, msgspec.Struct))


def _root(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _name(part: Any) -> str:
    return part.__qualname__ if isinstance(part, type) else repr(part)

"""The reading of a handler's result, as the type that its function returns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import Parameter, Signature
from typing import Any

import msgspec

from queuey.errors import StartupError
from queuey.protocol.json import foreign
from queuey.worker.handlers.parameters.annotations import resolved, signature_of
from queuey.worker.handlers.parameters.pydantic_types import PydanticType, is_for_pydantic

Decode = Callable[[bytes], Any]


def result_decoder(function: Callable[..., Any]) -> Decode:
    """Return what reads a result from JSON, as the type that the function says it returns, else as plain values.

    It raises msgspec.ValidationError. Raises StartupError if nothing can be read as that type.
    """
    given = signature_of(function).return_annotation
    annotation = Parameter.empty if given is Signature.empty else given
    kind = resolved(function, Parameter("return", Parameter.POSITIONAL_ONLY, annotation=annotation))
    has_both = False
    try:
        by_pydantic = is_for_pydantic([kind])
    except StartupError:  # a result may have types of both, unlike a payload
        has_both, by_pydantic = True, False
    try:
        decode: Decode = PydanticType(kind).decode if by_pydantic else msgspec.json.Decoder(kind).decode
    except TypeError as error:
        raise StartupError(f"its result cannot be read as {kind!r} ({error}): annotate what JSON can have") from error
    return partial(foreign.decode, into=kind) if has_both else decode

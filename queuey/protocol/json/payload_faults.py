"""The faults of a payload that does not fit the type of its handler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from queuey.protocol.schema_faults import to_pointer

MAX_FAULTS: Final = 20
"""The maximum number of faults that are named."""


class PayloadFault(NamedTuple):
    """A fault: its JSON pointer (RFC 6901) in the payload, and the reason without it."""

    pointer: str
    reason: str


class PayloadMismatch(msgspec.ValidationError):
    """A payload does not fit, in the words of another library than msgspec."""

    def __init__(self, faults: Sequence[PayloadFault]) -> None:
        self.faults = list(faults[:MAX_FAULTS])
        super().__init__(
            "; ".join(f"{reason} - at `{pointer}`" if pointer else reason for pointer, reason in self.faults)
        )


def faults_of(error: msgspec.ValidationError) -> list[PayloadFault]:
    """Return the faults of a payload. msgspec names the first one only."""
    if isinstance(error, PayloadMismatch):
        return error.faults
    message = str(error)
    return [PayloadFault(to_pointer(message), message.partition(" - at `")[0])]

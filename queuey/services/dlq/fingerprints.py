"""The fingerprint of a dead job, made of its type and the kind and the message of its error.

Parts of the message that differ from job to job are removed first: numbers, hexadecimal digits and ids.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

LENGTH: Final = 16
_VARIES: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"  # a UUID
    r"|0x[0-9a-fA-F]+"
    r"|\b(?=[A-Za-z]*\d)[A-Za-z0-9]{16,}\b"  # an id: long, with a digit
    r"|\b(?=[a-f]*\d)[0-9a-f]{6,}\b"  # hexadecimal
    r"|\d+(?:[.,:]\d+)*"  # a number, a time, an address
)
_NAMES_WORKER: Final = "lease_lapsed"
"""The kind of error whose message differs only by the worker's name."""


def normalised(message: str) -> str:
    """Return the message with `#` in place of the parts that differ from job to job, and with single spaces."""
    return " ".join(_VARIES.sub("#", message).split())


@lru_cache(maxsize=2048)
def fingerprint(job_type: str, kind: str, message: str) -> str:
    """Return the fingerprint: 16 hexadecimal digits."""
    text = "" if kind == _NAMES_WORKER else normalised(message)
    return blake2b(msgspec.json.encode((job_type, kind, text)), digest_size=LENGTH // 2).hexdigest()

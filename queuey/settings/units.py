"""Durations and sizes as people write them in settings.

    duration   30, 0.5, 500ms, 30s, 5m, 24h, 7d                a bare number is seconds
    size       4096, 256kB, 1MB, 4GB, 256KiB, 1MiB, 4GiB       a bare number is bytes

kB, MB, GB and TB are powers of 1,000; KiB, MiB, GiB and TiB are powers of 1,024. Other spellings (`256k`,
`1mb`) are refused, because programs disagree about their meaning.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0

_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]{0,3})")
_SECONDS: Final = {"": Decimal(1), "ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60)}
_SECONDS.update({"h": Decimal(3600), "d": Decimal(86400)})
_BYTES: Final = {"": 1, "B": 1}
_BYTES.update({unit: 1000**power for power, unit in enumerate(("kB", "MB", "GB", "TB"), 1)})
_BYTES.update({unit: 1024**power for power, unit in enumerate(("KiB", "MiB", "GiB", "TiB"), 1)})


def parse_duration(text: str) -> float:
    """Return the seconds of a duration. Raises ValueError if the text is not one; negative ones are refused."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in _SECONDS:
        raise ValueError("is not a duration such as 30 (seconds), 500ms, 30s, 5m, 24h or 7d")
    return float(Decimal(match[1]) * _SECONDS[match[2]])


def format_duration(seconds: float) -> str:
    """Return the usual spelling, which `parse_duration` reads back: 500ms, 30s, 5m, 24h, 7d."""
    if 0 < seconds < 1:
        return _plain(seconds * 1000) + "ms"
    if seconds > DAY and seconds % DAY == 0:
        return _plain(seconds / DAY) + "d"
    for unit, length in (("h", HOUR), ("m", MINUTE)):
        if seconds and seconds % length == 0:
            return _plain(seconds / length) + unit
    return _plain(seconds) + "s"


def _plain(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


def parse_size(text: str) -> int:
    """Return the bytes of a size. Raises ValueError if the text is not a size, or not a whole number of bytes."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in _BYTES:
        raise ValueError("is not a size such as 4096 (bytes), 256kB (kB is 1,000 bytes) or 256KiB (KiB is 1,024 bytes)")
    size = Decimal(match[1]) * _BYTES[match[2]]
    if size != int(size):
        raise ValueError("is not a whole number of bytes")
    return int(size)


def format_size(size: int) -> str:
    """Return the size in the largest unit that divides it, decimal before binary. `parse_size` reads it back."""
    for family in (("TB", "GB", "MB", "kB"), ("TiB", "GiB", "MiB", "KiB")):
        for unit in family:
            if size and size % _BYTES[unit] == 0:
                return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"

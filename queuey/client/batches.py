"""The grouping of many items into as few requests as their size allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Raw

BYTES: Final = 900_000
"""The largest request with many items, in bytes. The server's default limit is 1 MB."""


def batches(items: Iterable[bytes], most: int) -> Iterator[list[Raw]]:
    """Yield lists of at most `most` JSON texts, in order. A text that is too large is in its own list."""
    batch: list[Raw] = []
    size = 0
    for item in items:
        if batch and (len(batch) == most or size + len(item) > BYTES):
            yield batch
            batch, size = [], 0
        batch.append(Raw(item))
        size += len(item) + 1
    if batch:
        yield batch

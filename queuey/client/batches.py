"""Many things in as few requests as their size allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Raw

BYTES: Final = 900_000
"""Of a request with many things; the server's limit is 1 MB unless it is set otherwise."""


def batches(items: Iterable[bytes], most: int) -> Iterator[list[Raw]]:
    """JSON texts, in order, at most so many together; one that is too large goes alone, and is refused."""
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

"""The event loops of this process in which a server or a worker runs. A call that blocks one would wait for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakSet

_serving: Final[WeakSet[asyncio.AbstractEventLoop]] = WeakSet()


@contextmanager
def serving() -> Iterator[None]:
    """Mark the running event loop as that of a server or a worker."""
    loop = asyncio.get_running_loop()
    _serving.add(loop)
    try:
        yield
    finally:
        _serving.discard(loop)


def serves_here() -> bool:
    """Return whether the calling thread runs such a loop."""
    try:
        return asyncio.get_running_loop() in _serving
    except RuntimeError:
        return False

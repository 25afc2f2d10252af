"""Importing this makes a replica give back jobs of unknown types to their lanes, and claim them like all others.

That is how a queue works that only releases what it cannot run: the same worker gets it again at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from queuey.store.asides import Wanted
from queuey.store.broker.leases import LeaseCalls
from queuey.store.replies import Claimed

_claim, _release = LeaseCalls.claim, LeaseCalls.release


async def claim(self: LeaseCalls, shard: int, *, wanted: Wanted | None = None, **options: Any) -> Claimed:
    return await _claim(self, shard, **options)


async def release(self: LeaseCalls, shard: int, held: Sequence[Any], **options: Any) -> list[str]:
    """Name no type, so that nothing is set aside."""
    return await _release(self, shard, [item[:3] for item in held], **options)


LeaseCalls.claim, LeaseCalls.release = claim, release  # type: ignore[method-assign]

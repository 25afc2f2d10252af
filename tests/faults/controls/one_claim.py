"""Importing this makes a worker wait for each claim, as if no shard could be silent while others answer."""

from __future__ import annotations

from queuey.worker.claims import under_way

under_way.LATE_SECONDS = 3600  # type: ignore[misc]

"""Fixtures for tests of the services."""

from __future__ import annotations

import pytest

from queuey.services.maintenance import reaper, shard_watch, store_watch
from tests.support.working import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which the reaper and its watches go."""
    clock = Clock()
    for module in (reaper, shard_watch, store_watch):
        monkeypatch.setattr(module, "time", clock)
    return clock

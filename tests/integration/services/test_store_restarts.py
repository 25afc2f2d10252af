"""The store watch sees that the store was started again."""

from __future__ import annotations

from typing import cast

import pytest

from queuey.errors import StoreUnavailable
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.store.broker.broker import Broker
from tests.integration.services.test_maintenance import FakeStore


async def test_a_store_that_was_started_again_is_looked_at_until_that_succeeds() -> None:
    store, looks = FakeStore(), []

    async def look() -> None:
        looks.append(store.run_id)
        if len(looks) == 1:
            raise StoreUnavailable("not yet")

    watch = StoreWatch(cast(Broker, store), 30, lambda full: None, on_restart=look)
    await watch.run_once()
    assert looks == [], "the start has looked"
    store.run_id = "second"
    with pytest.raises(StoreUnavailable):
        await watch.run_once()
    for _ in range(2):
        await watch.run_once()
    assert looks == ["second", "second"]

"""The API over a broker that publishes the moves of jobs as events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.events import observed
from tests.support.http import ApiRig, api_over
from tests.support.store import Rig


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    async with api_over(observed(rig)) as api:
        yield api

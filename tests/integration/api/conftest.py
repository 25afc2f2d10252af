"""The direct path of POST /v1/jobs beside ASGI, for the suites that enqueue jobs in every way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.support.direct.both_ways import Recorder, Records
from tests.support.http import ApiRig
from tests.support.store import Server, client_for


@pytest.fixture
async def both_ways(servers: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Records]:
    """Sends each POST /v1/jobs of a test to two more servers, by both ways, and compares the replies."""
    url = servers("both ways").url
    client = client_for(url)
    await client.flushall()
    await client.aclose()
    async with AsyncExitStack() as stack:
        records = Records(stack, url)

        def record(model: ApiRig, over: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
            return Recorder(model, over, records)

        monkeypatch.setattr(ApiRig, "over", staticmethod(record))
        yield records
        await records.settle()

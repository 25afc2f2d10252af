"""A server whose external store is away at its start: what the log says, and when it gives up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from queuey.errors import StartupError, StoreUnavailable
from queuey.server import store


async def test_it_is_logged_every_ten_seconds_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("The store redis://user:secret@db cannot be reached.")

    monkeypatch.setattr(store, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(store, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(store, "check_store", away)
    settings = store.StoreSettings("redis://db", Path("/unused"), "always", None, 1, "queuey")
    opened = store.ServerStore(settings, cast(Any, None), cast(Any, None))
    broker = cast(Any, SimpleNamespace(shards=SimpleNamespace(client=None)))
    with capture_logs() as logged, pytest.raises(StartupError, match=r"reached\. It was tried for 30 s\.") as caught:
        await opened.check(broker, "replica", None)
    assert [(line["event"], line["seconds"]) for line in logged] == [("store_awaited", at) for at in (0, 10, 20, 30)]
    assert now == 131.0
    assert "secret" not in f"{logged} {caught.value.message}"

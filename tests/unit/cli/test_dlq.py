"""The requests of `queuey dlq replay`. The network is a function."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from queuey.cli.commands import dlq
from queuey.cli.options import Server
from queuey.client import Client
from queuey.protocol.models import YEAR
from tests.support.virtual_time import in_virtual_time


@in_virtual_time
async def test_jobs_that_die_again_meanwhile_are_not_replayed_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(msgspec.json.decode(request.content))
        return httpx.Response(200, json={"matched": 2, "done": 2, "dry_run": False, "more": True})

    client = Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(Server, "client", lambda _: client)
    monkeypatch.setattr(dlq, "JOBS_PER_CALL", 2)
    await dlq.replay(which=dlq.Which(older_than=60, younger_than=YEAR - 1), limit=6, rate=1, output="jsonl")
    assert [body["limit"] for body in asked] == [2, 2, 2]
    assert [body["older_than"] for body in asked] == [60, 62, 64]  # each two seconds after the one before
    assert [body["younger_than"] for body in asked] == [YEAR - 1, YEAR, YEAR]
    assert msgspec.json.decode(capsys.readouterr().out)["done"] == 6


@in_virtual_time
async def test_without_an_age_it_is_the_time_since_the_command_began(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(msgspec.json.decode(request.content).get("older_than"))
        return httpx.Response(200, json={"matched": 1, "done": 1, "dry_run": False, "more": True})

    client = Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(Server, "client", lambda _: client)
    monkeypatch.setattr(dlq, "JOBS_PER_CALL", 1)
    await dlq.replay(limit=3, rate=0.5)
    assert asked == [None, 2, 4]

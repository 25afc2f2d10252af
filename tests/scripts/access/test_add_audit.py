"""add_audit: an entry of the audit log, and the outcome in place of the intent."""

from __future__ import annotations

import pytest

from queuey.store.broker.watching import access
from tests.support.store import Rig


async def test_an_entry_is_added(rig: Rig) -> None:
    first = await rig.broker.access.add_audit('{"n":1}')
    second = await rig.broker.access.add_audit('{"n":2}')
    found = await rig.client.xrange(rig.broker.shards.keys[0].audit)
    assert found == [(first.encode(), {b"d": b'{"n":1}'}), (second.encode(), {b"d": b'{"n":2}'})]


async def test_the_outcome_replaces_the_intent(rig: Rig) -> None:
    begun = await rig.broker.access.add_audit('{"n":1}')
    other = await rig.broker.access.add_audit('{"n":2}')
    done = await rig.broker.access.add_audit('{"n":3}', begun)
    assert [entry_id for entry_id, _ in await rig.client.xrange(rig.broker.shards.keys[0].audit)] == [
        other.encode(),
        done.encode(),
    ]
    again = await rig.broker.access.add_audit('{"n":3}', begun)
    assert await rig.client.xlen(rig.broker.shards.keys[0].audit) == 3
    assert again != done


async def test_only_the_last_ones_are_kept(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "AUDIT_KEPT", 10)
    last = ""
    for _ in range(300):
        last = await rig.broker.access.add_audit("{}")
    assert await rig.client.xlen(rig.broker.shards.keys[0].audit) < 200
    assert (await rig.client.xrevrange(rig.broker.shards.keys[0].audit, count=1))[0][0] == last.encode()

"""session_key: the secret of sessions is made once, and replaced on demand."""

from __future__ import annotations

from tests.support.store import Rig


async def test_the_first_one_that_asks_makes_it(rig: Rig) -> None:
    assert await rig.broker.access.session_key() == ""
    assert await rig.client.exists(rig.broker.shards.keys[0].meta) == 0
    assert await rig.broker.access.session_key("aa") == "aa"
    assert await rig.client.hget(rig.broker.shards.keys[0].meta, "session_key") == b"aa"


async def test_others_get_the_same_one(rig: Rig) -> None:
    await rig.broker.access.session_key("aa")
    async with rig.unchanged():
        assert await rig.broker.access.session_key("bb") == "aa"
        assert await rig.broker.access.session_key() == "aa"


async def test_a_new_one_takes_its_place(rig: Rig) -> None:
    await rig.broker.access.session_key("aa")
    assert await rig.broker.access.session_key("bb", replace=True) == "bb"
    assert await rig.broker.access.session_key() == "bb"

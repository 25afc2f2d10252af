"""Key names: each spelled as the design says, and all of a shard in one slot."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from queuey.store.keys import ShardKeys, cancel_channel, channels, finished_channel, poke_key, scan_names

NAMES = {
    "job": (("ID",), "job:ID"),
    "state": (("ID",), "state:ID"),
    "ready": (("mail", "high"), "ready:mail:high"),
    "scheduled": (("mail", "low"), "scheduled:mail:low"),
    "leases": (("mail",), "leases:mail"),
    "dead": (("mail",), "dead:mail"),
    "done": (("mail",), "done:mail"),
    "dedupe": (("a2V5",), "dedupe:a2V5"),
    "progress": (("ID",), "progress:ID"),
    "log": (("ID",), "log:ID"),
    "claim": (("c1",), "claim:c1"),
    "alone": (("w1",), "alone:w1"),
    "queue": (("mail",), "queue:mail"),
    "wake": (("mail",), "wake:mail"),
    "aside": (("mail", "low", "send"), "aside:mail:low:send"),
    "wake_type": (("mail", "send"), "wake:mail:send"),
    "stats_minute": (("30000000",), "stats:30000000"),
    "selftest": (("list",), "selftest:list"),
    "schedule": (("nightly",), "schedule:nightly"),
    "runs": (("nightly",), "runs:nightly"),
    "batch": (("mail:low:send:a2V5",), "batch:mail:low:send:a2V5"),
    "queues": (None, "queues"),
    "workers": (None, "workers"),
    "meta": (None, "meta"),
    "stats": (None, "stats"),
    "quiet": (None, "quiet"),
    "copied": (None, "copied"),
    "events": (None, "events"),
    "listening": (None, "listening"),
    "audit": (None, "audit"),
    "schedule_names": (None, "schedule_names"),
    "ticks": (None, "ticks"),
    "waiting_ticks": (None, "waiting_ticks"),
}


def spelled(keys: ShardKeys) -> dict[str, str]:
    names = {}
    for name, (arguments, _) in NAMES.items():
        value = getattr(keys, name)
        names[name] = value if arguments is None else value(*arguments)
    return names


def test_every_name() -> None:
    assert spelled(ShardKeys(3)) == {name: "queuey:{3}:" + text for name, (_, text) in NAMES.items()}
    assert spelled(ShardKeys(0, "mine"))["job"] == "mine:{0}:job:ID"


def test_no_name_of_keys_py_is_left_out_here() -> None:
    public = {name for name in dir(ShardKeys) if not name.startswith("_")}
    assert public - {"anchors", "base", "shard"} == set(NAMES)


def test_the_anchors_are_two_keys_that_no_name_equals() -> None:
    keys = ShardKeys(3)
    assert keys.anchors == ("queuey:{3}:", "queuey:{3}:!")
    assert not set(keys.anchors) & set(spelled(keys).values())


@pytest.mark.parametrize("shard", [0, 1, 7, 1023])
def test_all_keys_of_a_shard_are_in_one_slot(shard: int) -> None:
    keys = ShardKeys(shard)
    slots = {key_slot(name.encode()) for name in (*keys.anchors, *spelled(keys).values())}
    assert slots == {key_slot(str(shard).encode())}


def test_a_channel_is_one_for_all_shards() -> None:
    assert channels("mine") == ("mine:cancel", "mine:finished", "mine:listening", "mine:asides", "mine:ticks")
    assert cancel_channel() == "queuey:cancel"
    assert finished_channel() == "queuey:finished"
    assert cancel_channel("mine") == "mine:cancel"


def test_the_key_that_wakes_one_replica_is_in_the_slot_of_its_shard() -> None:
    assert poke_key(ShardKeys(3), "host-1") == "queuey:{3}:poke:host-1"


def test_names_that_scan_finds_are_taken_apart() -> None:
    pattern, parse = scan_names("a.b", "dedupe")
    assert pattern == "a.b:{*}:dedupe:*"
    assert parse(ShardKeys(7, "a.b").dedupe("a2V5_-").encode()) == (7, "a2V5_-")
    assert parse(ShardKeys(7, "a.b").dedupe("i:digest").encode()) == (7, "i:digest")
    for other in (ShardKeys(7, "axb").dedupe("k"), ShardKeys(7, "a.b").job("k"), "a.b:{x}:dedupe:k", "a.b:{1}:dedupe:"):
        assert parse(other.encode()) is None


def test_the_names_of_lists_set_aside_are_taken_apart() -> None:
    pattern, parse = scan_names("a.b", "aside")
    keys = ShardKeys(7, "a.b")
    assert pattern == "a.b:{*}:aside:*"
    assert parse(keys.aside("mail.eu", "low", "send_it-1.x").encode()) == (7, "mail.eu:low:send_it-1.x")
    assert parse(keys.aside("mail", "high", "*").encode()) == (7, "mail:high:*")
    assert parse(keys.aside("mail", "high", "!").encode()) == (7, "mail:high:!")
    for other in (keys.aside("mail", "low", ""), keys.job("aside:a:b:c"), keys.aside("a", "low", "b:c")):
        assert parse(other.encode()) is None

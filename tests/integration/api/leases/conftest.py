"""Leases are tested with one shard and with several."""

from __future__ import annotations

from tests.support.stores import SHARDS, one_of

shards = one_of(*SHARDS)

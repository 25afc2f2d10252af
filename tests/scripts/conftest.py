"""Scripts are tested on every kind of store, with one shard and with several.

A test for fewer kinds: `@pytest.mark.parametrize("kind", ["valkey"])`.
"""

from __future__ import annotations

from tests.support.stores import KINDS, SHARDS, one_of

kind = one_of(*KINDS)
shards = one_of(*SHARDS)

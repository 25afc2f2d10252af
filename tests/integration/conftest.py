"""Parts of Queuey together are tested on one kind of store, with one shard. A module for more of them says so:
`kind = one_of(*KINDS)`, `shards = one_of(*SHARDS)`."""

from __future__ import annotations

import pytest


@pytest.fixture
def kind() -> str:
    return "valkey"


@pytest.fixture
def shards() -> int:
    return 1

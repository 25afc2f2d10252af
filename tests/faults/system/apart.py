"""Importing this makes a replica reach one shard of an external store through a proxy of its own.

FAULTS_APART   the unix socket of that proxy, and the number of the shard
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from queuey.server import roles
from queuey.services.leases import pulling
from queuey.store.connections.pipelined import StoreClient, connect
from queuey.store.shards import Shards
from queuey.store.wakeups import SharedWaker, Waker

_path, _number = os.environ["FAULTS_APART"].split()
URL, SHARD = f"unix://{_path}", int(_number)


_through: dict[Shards, StoreClient] = {}


def _client_of(shards: Shards, shard: int) -> StoreClient:
    """Return the connection of a shard, as a Cluster has one for each node."""
    if shard != SHARD:
        return shards.client
    if shards not in _through:
        _through[shards] = connect(URL, timeout=shards.client.link.timeout)
    return _through[shards]


def _groups(shards: Shards, *, cluster: bool) -> list[list[int]]:
    return [[shard] for shard in range(shards.count)]


def _connect(waker: type[Waker] | type[SharedWaker]) -> None:
    """Have a waker of the shard block on a connection through its proxy."""
    init: Any = waker.__init__

    def changed(self: object, client: StoreClient, shards: Shards, group: Sequence[int], *rest: Any) -> None:
        through = connect(URL, timeout=client.link.timeout) if SHARD in group else client
        init(self, through, shards, group, *rest)

    waker.__init__ = changed  # type: ignore[assignment,method-assign]


Shards.client_of = _client_of  # type: ignore[assignment,method-assign]
roles.wake_groups = pulling.wake_groups = _groups  # type: ignore[attr-defined]
_connect(Waker)
_connect(SharedWaker)

"""A store for a command that is not a server: the one of --redis, or the private Valkey of a data directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import StoreClient, connect
from queuey.store.embedded.store import EmbeddedStore
from queuey.store.scripts import Scripts
from queuey.store.selfcheck import check_answers
from queuey.store.shards import Shards

PATIENCE: Final = 30.0
"""Seconds for a reply: a dump of megabytes may wait behind others."""


@asynccontextmanager
async def opened(settings: Settings, patience: float = PATIENCE) -> AsyncIterator[StoreClient]:
    """A client of the store, which may take `patience` seconds for each reply. A private Valkey is joined when a server
    runs on its data directory, and else started and stopped again. Raises StartupError."""
    embedded = None
    url = settings.redis
    if url is None:
        embedded = EmbeddedStore(settings.data_dir, fsync=settings.fsync, maxmemory=settings.maxmemory)
        await embedded.start()
        url = embedded.url
    try:
        client = connect(url, timeout=patience)
        try:
            if embedded is None:
                await check_answers(client)
            yield client
        finally:
            await client.aclose()
    finally:
        if embedded is not None:
            await embedded.stop()


def broker_of(client: StoreClient, settings: Settings, shards: int) -> Broker:
    return Broker(Shards(client, shards, settings.prefix), Scripts())

"""Opening the store: for a server, and for a command that is not one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from queuey import log
from queuey.errors import StartupError, StoreUnavailable
from queuey.lifecycle import Part, Tasks
from queuey.protocol.allowed import counted
from queuey.protocol.credentials import redact_urls
from queuey.services.maintenance.heartbeat import introduce
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import Observer
from queuey.store.connections.pipelined import StoreClient, connect
from queuey.store.embedded.process import Fsync
from queuey.store.embedded.store import EmbeddedStore
from queuey.store.scripts import Scripts
from queuey.store.selfcheck import ADVICE, Durability, check_again, check_answers, check_store
from queuey.store.shards import Shards
from queuey.store.wakeups import BLOCK_SECONDS

STORE_TIMEOUT: Final = 5.0
"""Seconds that the store may take for a call that no HTTP request waits for."""
STORE_SECONDS: Final = 30.0
"""Seconds that an external store may be away at start-up."""
AWAITED_EVERY: Final = 10.0
"""Seconds between two log lines about a store that is away at start-up."""
REPLY_SECONDS: Final = 30.0
"""Seconds for a reply to a command: a dump of megabytes may wait behind others."""
LEAVE_SECONDS: Final = 2.0
"""Seconds that the embedded store may take to stop after a second signal."""

logger = log.get(__name__)


class StoreSettings(Struct, frozen=True):
    """The store to open. Without a URL it is a private Valkey on `data_dir`."""

    url: str | None
    data_dir: Path
    fsync: Fsync
    maxmemory: int | None
    shards: int
    prefix: str

    @classmethod
    def of(cls, settings: Settings) -> StoreSettings:
        """Take them from the settings of a server."""
        return cls(
            settings.redis, settings.data_dir, settings.fsync, settings.maxmemory, settings.shards, settings.prefix
        )


class ServerStore(Part):
    """The store of a server. It opens the connections of all parts, and closes them at the end."""

    def __init__(self, settings: StoreSettings, scripts: Scripts, tasks: Tasks) -> None:
        self._settings = settings
        self._scripts = scripts
        self._tasks = tasks
        self._stack = AsyncExitStack()
        self._embedded: EmbeddedStore | None = None
        if settings.url is None:
            self._embedded = EmbeddedStore(
                settings.data_dir, fsync=settings.fsync, maxmemory=settings.maxmemory, on_event=_log_event
            )

    @property
    def url(self) -> str:
        """The store's URL, once it has started."""
        return self._embedded.url if self._embedded is not None else self._settings.url or ""

    async def start(self) -> None:
        """Start the embedded store, or join the one that runs; an external store has to run already."""
        if self._embedded is not None:
            self._stack.push_async_callback(self._embedded.stop)
            await self._embedded.start()
            self._tasks.spawn("embedded-store", self._embedded.run())

    async def check(self, broker: Broker, replica: str, description: object) -> Durability:
        """Check that the store has what Queuey needs, and register this replica as its user. Raises StartupError.

        An external store may come up a little later than this process.
        """
        began, log_after = time.monotonic(), 0.0
        client, embedded = broker.shards.client, self._embedded is not None
        while True:
            try:
                report = await check_store(client, broker.shards, self._scripts, embedded=embedded)
                await broker.replicas.register()
                await introduce(broker, replica, description)
            except StoreUnavailable as error:
                waited = time.monotonic() - began
                if waited > STORE_SECONDS:
                    text = f"{error.message} It was tried for {STORE_SECONDS:g} s. {ADVICE}"
                    raise StartupError(redact_urls(text)) from error
                if waited >= log_after:
                    message = redact_urls(error.message)
                    logger.warning("store_awaited", error=message, seconds=round(waited), at_most=STORE_SECONDS)
                    log_after = waited + AWAITED_EVERY
                await asyncio.sleep(1)
            else:
                for warning in report.warnings:
                    logger.warning("store_warning", warning=warning)
                return report.durability

    async def check_again(self, broker: Broker) -> tuple[Durability, str]:
        """Return the durability of a store that was started again, and the error with which no server would start.

        Raises StoreUnavailable.
        """
        durability, warnings, unfit = await check_again(broker.shards.client)
        for warning in () if self._embedded is not None else warnings:
            logger.warning("store_warning", warning=warning)
        if unfit:
            logger.error("store_unfit", error=unfit)
        return durability, unfit

    def client(self, timeout: float) -> StoreClient:
        """Open a connection whose replies may take `timeout` seconds."""
        client = connect(self.url, timeout=timeout)
        self._stack.push_async_callback(client.aclose)
        return client

    def blocking_client(self) -> StoreClient:
        """Open a connection for calls that block. Nothing else may be called on it."""
        return self.client(BLOCK_SECONDS + STORE_TIMEOUT)

    def broker(self, timeout: float, observer: Observer | None = None) -> Broker:
        """Make a Broker on a connection of its own. `observer` hears of each job that its calls move."""
        return self._broker_on(self.client(timeout), observer)

    def foreign_broker(self, timeout: float) -> Broker:
        """Make a Broker for the event loop of another thread, which has to close it."""
        return self._broker_on(connect(self.url, timeout=timeout), None)

    def _broker_on(self, client: StoreClient, observer: Observer | None) -> Broker:
        return Broker(Shards(client, self._settings.shards, self._settings.prefix), self._scripts, observer)

    async def abandon(self) -> None:
        """Stop the embedded store, as far as that takes no time."""
        if self._embedded is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._embedded.stop(), LEAVE_SECONDS)

    async def stop(self) -> None:
        """Close all connections. The last user of an embedded store stops it."""
        await self._stack.aclose()


async def check_copies(broker: Broker, copies: int) -> None:
    """Warn when fewer of the store's own replicas are up to date than `--wait-replicas` asks for."""
    there = await broker.copies()
    if there < copies:
        text = f"the store has {counted(there, 'replica')} up to date, and --wait-replicas asks for {copies}"
        logger.warning("store_warning", warning=f"{text}: no job is acknowledged before there are as many.")


def _log_event(event: str, fields: dict[str, object]) -> None:
    """Log an event of the embedded store."""
    logger.info(event, **fields)


@asynccontextmanager
async def opened(settings: Settings, timeout: float = REPLY_SECONDS) -> AsyncIterator[StoreClient]:
    """Open the store for a command. Each reply may take `timeout` seconds.

    A private Valkey is joined when a server runs on its data directory; otherwise it is started, and stopped again.
    Raises StartupError.
    """
    embedded = None
    url = settings.redis
    if url is None:
        embedded = EmbeddedStore(settings.data_dir, fsync=settings.fsync, maxmemory=settings.maxmemory)
        await embedded.start()
        url = embedded.url
    try:
        client = connect(url, timeout=timeout)
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
    """Make a Broker for a command."""
    return Broker(Shards(client, shards, settings.prefix), Scripts())

"""A proxy between the replicas and the store, in a thread of its own, that misbehaves as a network does."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

CHUNK: Final = 1 << 16
PATIENCE: Final = 10.0
_CALL = re.compile(rb"EVALSHA\r\n\$40\r\n([0-9a-f]{40})(?:(?:\r\n\$\d+\r\n[^\r]*){3}\r\n\$\d+\r\n(.))?", re.DOTALL)
"""A script's hash, and the first byte of what follows the number of keys and two keys."""
OFFER: Final = "enqueue with an offer"
_WITH_OFFER: Final = b"\x95"
"""MessagePack of an array with five elements, of which the fifth is an offer."""


class Link:
    """One client's connection, and ours to the store."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.calls: list[str] = []
        """The scripts that the store was asked to run and has not answered."""
        self._writers = writers

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


class Proxy:
    """From the unix socket `path` to the unix socket `target`. `scripts`: name of a script by its hash."""

    def __init__(self, path: Path, target: Path, scripts: Mapping[str, str]) -> None:
        self._path = path
        self._target = target
        self._scripts = scripts
        self._links: set[Link] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._open = True
        self._delay = 0.0
        self._drop: Callable[[list[str]], bool] | None = None
        self.dropped: Counter[str] = Counter()
        """Replies that were swallowed, by script."""
        self._loop = asyncio.new_event_loop()
        self._forwarding: asyncio.Event
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    # --- called from any other thread -----------------------------------------------------------------------------

    def start(self) -> None:
        """Returns once connections are taken."""
        self._thread.start()
        self._do(self._listen())

    def stop(self) -> None:
        """Cut everything, and end the thread."""
        if self._thread.is_alive():
            self._do(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()

    def in_flight(self) -> Counter[str]:
        """The calls that the store has been sent and whose replies have not gone back, by script."""
        return self._do(self._in_flight())

    def cut(self) -> None:
        """Cut every connection. New ones are taken."""
        self._do(self._cut())

    def part(self, parted: bool) -> None:
        """While parted, every connection is cut at once."""
        self._open = not parted
        self._do(self._cut())

    def hold_replies(self, hold: bool) -> None:
        """While held, requests reach the store and its replies go nowhere."""
        self._do(self._hold(hold))

    def delay(self, seconds: float) -> None:
        """Every reply takes so much longer."""
        self._delay = seconds

    def drop_replies(self, share: float, rng: Random, only: str = "") -> None:
        """This share of the scripts' replies is swallowed, and the connection cut in its place. 0: none.

        `only`: replies to this call alone.
        """
        self._drop = (lambda calls: (not only or only in calls) and rng.random() < share) if share else None

    def _do(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    # --- in the proxy's own thread --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        self._forwarding = asyncio.Event()
        self._forwarding.set()
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def _close(self) -> None:
        self._open = False
        self._server.close()
        await self._cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _in_flight(self) -> Counter[str]:
        return Counter(call for link in self._links for call in link.calls)

    async def _cut(self) -> None:
        for link in self._links:
            link.cut()

    async def _hold(self, hold: bool) -> None:
        if hold:
            self._forwarding.clear()
        else:
            self._forwarding.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            if self._open:
                await self._connect(reader, writer)
        except OSError:
            pass  # the store is away: so is the client then
        finally:
            writer.transport.abort()
            self._pumps.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store_reader, store_writer = await asyncio.open_unix_connection(str(self._target))
        link = Link(writer, store_writer)
        self._links.add(link)
        try:
            pumps = [
                asyncio.ensure_future(self._requests(reader, store_writer, link)),
                asyncio.ensure_future(self._replies(store_reader, writer, link)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._links.discard(link)
            link.cut()

    def _name(self, sha: bytes, begins: bytes) -> str:
        name = self._scripts.get(sha.decode(), "?")
        return OFFER if name == "enqueue" and begins == _WITH_OFFER else name

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                link.calls += [self._name(*found) for found in _CALL.findall(data)]
                writer.write(data)
                await writer.drain()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._forwarding.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                if link.calls and self._drop is not None and self._drop(link.calls):
                    self.dropped.update(link.calls)
                    return
                link.calls.clear()
                writer.write(data)
                await writer.drain()

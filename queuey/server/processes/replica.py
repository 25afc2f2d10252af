"""The other side of supervisor.py: one replica of `--processes N` in a process of its own.

Over a socket come an Init, as a line of JSON, and then orders, a byte each. Back goes a line of JSON: Started or
Refused. The parent's end of the socket closes when the parent is gone, however it went. A second socket is for what
the replicas ask one another (services/peers.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any, Final

import msgspec

from queuey.errors import StartupError
from queuey.lifecycle import StopSignals, drain_on_hangup, ignore_signals
from queuey.services.peers import Place
from queuey.settings.settings import Settings
from queuey.streams import outlive_terminal

DRAIN: Final = b"d"
LEAVE: Final = b"l"
ORPHAN_SECONDS: Final = 60.0
"""Seconds beyond its drain timeout that a replica may live without its parent. All else that it does takes less."""


class Init(msgspec.Struct):
    """The settings with which a replica starts.

    `path`: the parent's sys.path. `listening`: the descriptor of a bound socket, unless it answers no HTTP. `number`:
    its place among the replicas, from 1.
    """

    settings: Settings
    path: list[str]
    listening: int | None
    number: int


class Started(msgspec.Struct, tag=True):
    """The replica serves. `facts` are the fields of its log line."""

    facts: dict[str, Any]


class Refused(msgspec.Struct, tag=True):
    """The replica cannot start, because of a StartupError."""

    message: str
    exit_code: int
    trace: str | None = None
    code: str = StartupError.code
    """The code of the error's class."""


def pack(message: object) -> bytes:
    return msgspec.json.encode(message, enc_hook=str) + b"\n"


def unpack_init(line: bytes) -> Init:
    return msgspec.json.decode(line, type=Init, dec_hook=lambda _, text: Path(text))


class Orders(StopSignals):
    """The orders of the parent, in place of signals. The end of the parent counts as an order to drain.

    SIGINT is not heeded, since a terminal sends it to the parent too, which passes it on; nor is it ignored, which
    what handlers start would inherit. SIGTERM and SIGHUP drain, and never more than that: a service manager or a
    terminal may send them to every process, and the order comes again from the parent.
    """

    def __init__(self, parent: socket.socket, early: bytes, orphan_seconds: float) -> None:
        """`early`: orders that came already. `orphan_seconds`: how long this process may live without its parent."""
        super().__init__()
        self._parent = parent
        self._early = early
        self._orphan_seconds = orphan_seconds

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGTERM, self.first.set)
        drain_on_hangup(self.first)
        if self._early:
            self._follow(self._early)
        Thread(target=self._listen, args=(loop,), daemon=True, name="queuey-parent").start()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen in a thread, so that a handler which blocks the event loop cannot keep an orphan alive."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: all is done
            with contextlib.suppress(OSError):
                while orders := self._parent.recv(16):
                    loop.call_soon_threadsafe(self._follow, orders)
            loop.call_soon_threadsafe(self._be_orphaned)
        time.sleep(self._orphan_seconds)
        os._exit(1)

    def _follow(self, orders: bytes) -> None:
        self.first.set()
        if LEAVE in orders:
            self.second.set()

    def _be_orphaned(self) -> None:
        self.port_first = True
        self.first.set()


def main(descriptor: int, peers: int) -> int:
    """Serve until the parent orders the end, or is gone. Returns the exit code.

    Both arguments are descriptors: of the socket for orders, and of the one to the peers."""
    signal.signal(signal.SIGINT, lambda *_: None)
    outlive_terminal()
    parent = _inherited(descriptor)

    from queuey.server.server import (
        ReplicaContext,
        serve,
    )  # before the wait: `queuey dev` keeps a process that is ready

    received = b""
    while b"\n" not in received:
        chunk = parent.recv(65_536)
        if not chunk:  # it is gone already
            parent.close()
            return 0
        received += chunk
    line, _, early = received.partition(b"\n")
    init = unpack_init(line)
    sys.path[:] = init.path
    context = ReplicaContext(
        signals=Orders(parent, early, init.settings.drain_timeout + ORPHAN_SECONDS),
        bound=None if init.listening is None else _inherited(init.listening),
        place=Place(init.number, init.settings.processes, _inherited(peers)),
        on_started=lambda facts: _tell(parent, Started(facts)),
    )
    try:
        code = serve(init.settings, context)
        ignore_signals()
        return code
    except StartupError as error:
        _tell(parent, Refused(error.message, error.exit_code, error.trace, error.code))
        return error.exit_code


def _inherited(descriptor: int) -> socket.socket:
    """Return a socket that processes started here do not inherit."""
    found = socket.socket(fileno=descriptor)
    found.set_inheritable(False)
    return found


def _tell(parent: socket.socket, message: object) -> None:
    with contextlib.suppress(OSError):  # it is gone; the orders say so
        parent.sendall(pack(message))

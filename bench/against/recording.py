"""Records what a server sends to its store, by a proxy on the way, so that it can be sent again without the server."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import hiredis

RECEIVE_BYTES: Final = 65_536
SKIPPED: Final = frozenset(
    b"HELLO AUTH CLIENT CONFIG PING INFO SUBSCRIBE SSUBSCRIBE UNSUBSCRIBE XREAD "
    b"BZPOPMIN BZPOPMAX BLPOP BRPOP BLMOVE BLMPOP BZMPOP".split()
)
"""What only concerns a connection, asks for the store's health, or waits. It belongs to no request."""

Command = tuple[bytes, ...]


@dataclass(frozen=True)
class Step:
    """One kind of request, sent `calls` times, each about `jobs` jobs."""

    name: str
    calls: int
    jobs: int


@dataclass(frozen=True)
class Sent:
    """A command, the number of its step, and that of its request within the step. Both are -1 before the first."""

    step: int
    call: int
    command: Command


@dataclass
class Recording:
    """The commands of a session in their order."""

    steps: list[Step] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)

    def of_step(self, number: int) -> list[Command]:
        return [sent.command for sent in self.sent if sent.step == number]


class Recorder:
    """Keeps every command that passes, until it is asked for the recording."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._call = -1
        self._sent: list[Sent] = []
        self._lock = threading.Lock()

    def begin(self, step: Step) -> None:
        """What passes from now on belongs to this step, and to its first request."""
        with self._lock:
            self._steps.append(step)
            self._call = 0

    def next_call(self) -> None:
        """What passes from now on belongs to the next request of this step."""
        with self._lock:
            self._call += 1

    def passed(self, command: Command) -> None:
        """Keep a command that has come from the server."""
        if command[0].upper() in SKIPPED:
            return
        with self._lock:
            self._sent.append(Sent(len(self._steps) - 1, self._call, command))

    def recording(self) -> Recording:
        with self._lock:
            return Recording(list(self._steps), list(self._sent))


class _Proxy(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, store: Path, recorder: Recorder) -> None:
        super().__init__(str(path), _Passage)
        self.store = store
        self.recorder = recorder


class _Passage(socketserver.BaseRequestHandler):
    """One connection of the server, and its own to the store."""

    def handle(self) -> None:
        proxy = cast(_Proxy, self.server)
        with socket.socket(socket.AF_UNIX) as store:
            store.connect(str(proxy.store))
            replies = threading.Thread(target=_pass_on, args=(store, self.request), daemon=True)
            replies.start()
            reader = hiredis.Reader()
            while data := self.request.recv(RECEIVE_BYTES):
                reader.feed(data)
                # A command is kept before it is passed on, so before its reply can end the step.
                while (command := reader.gets()) is not False:
                    proxy.recorder.passed(tuple(command))
                store.sendall(data)
            store.shutdown(socket.SHUT_RDWR)
            replies.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(RECEIVE_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one of the two has hung up


@contextmanager
def recording_proxy(path: Path, store: Path) -> Iterator[Recorder]:
    """Listen at the unix socket `path` and pass everything on to the one of the store."""
    recorder = Recorder()
    with _Proxy(path, store, recorder) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield recorder
        finally:
            proxy.shutdown()
            thread.join()

"""The TCP port: bound once, and shared by the replicas of `--processes N`."""

from __future__ import annotations

import socket
import sys
from typing import Any, Final

from queuey.errors import StartupError

BALANCED: Final = sys.platform == "linux"
"""Whether the kernel spreads connections over the sockets of one port. Elsewhere the replicas share one socket."""


def bind(host: str, port: int) -> socket.socket:
    """Bind a TCP socket. Raises StartupError that says what to change."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise StartupError(f"--host {host}: {error.strerror}. Give an address of this machine.") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise StartupError(f"Cannot listen on {host} port {port}: {error.strerror}. Choose another --port.") from error
    return bound


def url_of(bound: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class SharedPort:
    """One port for several replicas, a socket for each (docs/adr/0009-processes.md says why).

    The first socket is bound as that of a single server, so the port must be free. It can be shared once a replica
    listens on it: from then on it is taken for everybody else.
    """

    def __init__(self, host: str, port: int) -> None:
        """Bind the port. Raises StartupError, as `bind` does."""
        first = bind(host, port)
        self.url = url_of(first)
        self._family = first.family
        self._address: Any = first.getsockname()
        self._sockets: dict[int, socket.socket] = {0: first}

    def of(self, number: int) -> socket.socket:
        """Return the socket of the replica with that number, bound again if it was given up. Raises StartupError."""
        if number not in self._sockets:
            self._sockets[number] = self._another()
        return self._sockets[number]

    def _another(self) -> socket.socket:
        if not BALANCED and self._sockets:
            return next(iter(self._sockets.values())).dup()
        for bound in self._sockets.values():
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        another = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            another.bind(self._address)
        except OSError as error:
            another.close()
            raise StartupError(f"Cannot listen on {self.url} once more: {error.strerror}.") from error
        return another

    def give_up(self, number: int) -> None:
        """Close the socket of a replica that has died, so that no connection waits there."""
        if number in self._sockets:
            self._sockets.pop(number).close()

    def close(self) -> None:
        """Leave the sockets to the replicas: each closes when its replica closes it."""
        for number in tuple(self._sockets):
            self.give_up(number)

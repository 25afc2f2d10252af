"""The connections of a client, which a forked copy of its process must not use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakSet

from queuey import forks

_OPENED: Final = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")


class Connections:
    """Knows the open connections of a client, also those of requests that have no answer yet."""

    def __init__(self) -> None:
        self._streams: WeakSet[Any] = WeakSet()

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note a connection as it is opened. This is for the extension `trace` of a request of httpx."""
        if event.endswith(_OPENED):
            self._streams.add(info["return_value"])

    def cut(self) -> bool:
        """Forget the connections of the parent, in a forked copy, and let them lead to /dev/null.

        Return whether there was one.
        """
        sockets = [stream.get_extra_info("socket") for stream in self._streams]
        descriptors = [one.fileno() for one in sockets if one is not None and one.fileno() >= 0]
        forks.cut(descriptors)
        self._streams = WeakSet()
        return bool(descriptors)

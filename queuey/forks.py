"""Forked copies of a process: they lose its sockets, clients begin afresh, and handlers' copies end.

A handler may fork. The copy should replace itself (exec) or end (os._exit). If it goes on instead, it would act as the
server: report results a second time, and keep the port after the server has stopped.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol
from weakref import WeakSet

import msgspec

EXIT_CODE: Final = 70
"""The exit code of a copy that came back from a handler: EX_SOFTWARE of sysexits.h."""


class Renewed(Protocol):
    """Something that begins afresh in a forked copy."""

    def begin_afresh(self) -> None:
        """Forget what belongs to the parent: its connections, its threads and its locks."""
        ...


_sockets: Final[WeakSet[socket.socket]] = WeakSet()
_renewed: Final[WeakSet[Renewed]] = WeakSet()
_state = {"forks": 0}


def count() -> int:
    """Return how often this process and its ancestors were forked: a number that differs in a copy."""
    return _state["forks"]


def keep(kept: socket.socket) -> None:
    """Keep a socket for this process only: in a forked copy, its descriptor leads to /dev/null."""
    _sockets.add(kept)


def renew(renewed: Renewed) -> None:
    """Have `begin_afresh` called in each forked copy, as long as the object is used."""
    _renewed.add(renewed)


def cut(descriptors: Sequence[int]) -> None:
    """Let descriptors lead to /dev/null, in a forked copy."""
    if not descriptors:
        return
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in descriptors:  # not closed: the number must not become that of another file
            os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)


def end_copy(type: str) -> NoReturn:
    """End this process, a copy that came back from a handler of that type, with a line on stderr.

    No lock is used, since another thread may have held it at the time of the fork.
    """
    advice = "End the copy that a handler forks with os._exit, also when its exec fails."
    line = {"level": "error", "event": "forked_copy_ended", "type": type, "pid": os.getpid(), "advice": advice}
    with contextlib.suppress(OSError):
        os.write(2, msgspec.json.encode(line) + b"\n")
    os._exit(EXIT_CODE)


def _in_copy() -> None:
    _state["forks"] += 1
    cut([one.fileno() for one in _sockets if one.fileno() >= 0])
    for one in list(_renewed):
        one.begin_afresh()


os.register_at_fork(after_in_child=_in_copy)

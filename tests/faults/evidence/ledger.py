"""The ledger: what the clients were told and what the handlers did, written down outside the store.

One file of JSON lines, which every process appends to, one line per write. Times are time.monotonic_ns(), which is one
clock for all processes of a machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

Operation = Literal["enqueue", "cancel", "retry", "replay"]
Outcome = Literal["ok", "fail", "unknown"]
"""unknown: no reply was seen, or one that says so. fail: the reply says that nothing was changed."""
How = Literal["ok", "failed", "stopped"]


class Sent(Struct, tag_field="event", tag="sent", omit_defaults=True):
    """A client is about to send a call; a batch has one line per job. `request`: what an enqueue asks for."""

    at: int
    call: int
    operation: Operation
    job: str = ""
    request: dict[str, Any] = {}


class Answered(Struct, tag_field="event", tag="answered", omit_defaults=True):
    """What came of a call for one job. `code`: HTTP status, or the name of the error.

    `said`: the job's id in the reply to an enqueue, the status in that to a cancel or a retry, the count in that to a
    replay.
    """

    at: int
    call: int
    operation: Operation
    outcome: Outcome
    code: str
    job: str = ""
    said: str = ""
    deduplicated: bool = False


class Seen(Struct, tag_field="event", tag="seen", omit_defaults=True):
    """A client looked at a job, and this is what it was told."""

    at: int
    asked_at: int
    job: str
    status: str
    finished_at: str = ""


NO_PROCESS: Final = 0
"""The pid of a pull worker in the conductor: no fault is to look for a process of its own."""


class Started(Struct, tag_field="event", tag="started"):
    """A handler begins an attempt."""

    at: int
    job: str
    type: str
    attempt: int
    token: str
    pid: int

    @property
    def claim(self) -> int:
        """Which claim of the job it is, from 1."""
        return int(self.token.partition(".")[0])


class Ended(Struct, tag_field="event", tag="ended"):
    """A handler is through with an attempt. One whose process was killed writes nothing."""

    at: int
    job: str
    token: str
    how: How
    pid: int


class Scheduled(Struct, tag_field="event", tag="scheduled"):
    """A schedule was put. Times are in ms by the store's clock; a tick is each full second from `anchor_ms` on.

    `kept`: whether the store promises to have it still. `asked_ms`: a time before the request, -1 = that at which it
    was created. A tick between the two may be fired: the server looks for the next tick before the store keeps it.
    """

    at: int
    name: str
    uid: str
    created_ms: int
    anchor_ms: int
    request: dict[str, Any]
    kept: bool = True
    asked_ms: int = -1


class Unscheduled(Struct, tag_field="event", tag="unscheduled"):
    """A schedule was paused. `until_ms`: a time before, by the store's clock; the ticks until then are decided."""

    at: int
    name: str
    until_ms: int


class Moment(Struct, tag_field="event", tag="moment", omit_defaults=True):
    """What the conductor did."""

    at: int
    what: Literal["loading", "injecting", "injected", "healing", "healed", "settled"]
    detail: str = ""


Event = Sent | Answered | Seen | Started | Ended | Scheduled | Unscheduled | Moment

_encode = msgspec.json.Encoder().encode
_decode_whole: Callable[[bytes], Event] = msgspec.json.Decoder(Event).decode
_BEGINNING: Final = b'{"event":'

now = time.monotonic_ns


def _decode(line: bytes) -> Event:
    """Of a process that was killed while it wrote, the piece of a line may stand before the next one's."""
    try:
        return _decode_whole(line)
    except msgspec.DecodeError:
        return _decode_whole(line[line.rindex(_BEGINNING) :])


class Ledger:
    """An open ledger. Any number of processes may have one on the same path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, event: Event) -> None:
        """Append a line. It is one write, so that lines of several processes never mix."""
        line = _encode(event) + b"\n"
        if os.write(self._fd, line) != len(line):
            raise OSError(f"a line of the ledger {self.path} was written in part")

    def close(self) -> None:
        os.close(self._fd)


class Tail:
    """Follows a ledger while it grows, and knows which attempts are under way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._running: dict[tuple[str, str], Started] = {}

    def new(self) -> Iterator[Event]:
        """The events since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            event = _decode(line)
            if isinstance(event, Started):
                self._running[event.job, event.token] = event
            elif isinstance(event, Ended):
                self._running.pop((event.job, event.token), None)
            yield event

    def in_flight(self) -> list[Started]:
        """The attempts that have begun and not ended, those of killed processes included."""
        for _ in self.new():
            pass
        return list(self._running.values())


def read(path: Path) -> list[Event]:
    """All events, in the order in which they were written. Raises msgspec.DecodeError on a damaged line."""
    return list(Tail(path).new())

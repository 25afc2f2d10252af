"""Errors as they are stored with a job: JSON on one line, of limited length."""

from __future__ import annotations

from typing import Final

import msgspec

from queuey.protocol.models import MAX_SNOOZES

ERROR_BYTES: Final = 4096
MESSAGE_BYTES: Final = 1000
"""The maximum number of bytes for the message of an entry. The rest is for the traceback."""
ELLIPSIS: Final = "…"


class ErrorEntry(msgspec.Struct, omit_defaults=True):
    """A JobError as it is stored. The store adds the time."""

    attempt: int
    kind: str
    message: str
    detail: str | None = None
    worker: str | None = None


def error_entry(kind: str, message: str, detail: str | None, *, attempt: int, worker: str | None) -> str:
    """Return a failure as an ErrorEntry in JSON. Long messages and details are cut; `kind` and `worker` are short."""
    entry = ErrorEntry(attempt, kind, _fit(message, MESSAGE_BYTES), detail="", worker=worker)
    room = ERROR_BYTES - len(msgspec.json.encode(entry))
    entry.detail = _fit(detail, room, tail=True) if detail else None
    return msgspec.json.encode(entry).decode()


def snoozed_too_often(reason: str) -> str:
    """Return the message for a job that is dead, since its handler has snoozed it too often."""
    return f"snoozed more than {MAX_SNOOZES:,} times" + (f": {reason}" if reason else "")


def _fit(text: str, room: int, *, tail: bool = False) -> str:
    """Return the head (or tail) of `text` that takes at most `room` bytes as JSON, with an ellipsis where it is cut."""
    if len(text) <= room and _json_bytes(text) <= room:
        return text
    room = max(0, room - len(ELLIPSIS.encode()))
    kept = text[max(0, len(text) - room) :] if tail else text[:room]
    while (excess := _json_bytes(kept) - room) > 0:
        # A character takes at most 6 bytes ("\u0000"), so each pass cuts something and never too much.
        drop = max(1, excess // 6)
        kept = kept[drop:] if tail else kept[:-drop]
    return ELLIPSIS + kept if tail else kept + ELLIPSIS


def _json_bytes(text: str) -> int:
    return len(msgspec.json.encode(text)) - len('""')

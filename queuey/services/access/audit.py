"""The audit log: who operated the server, when, and how it ended.

The intent is stored before an action begins, and its outcome replaces it. An entry that stays `begun` belongs to an
action whose replica ended meanwhile. An action goes on if the log cannot be written: it may be the one that frees the
memory which the log lacks. The server's own log then has what the audit log lacks.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from queuey import log
from queuey.errors import Invalid, ParameterFault, QueueyError
from queuey.protocol.models import AuditEntry, AuditOutcome, AuditPage, Via
from queuey.store.broker.broker import Broker

MAX_PAGE: Final = 200
MAX_FILTER: Final = 2000
"""The maximum number of characters of a filter. A longer one is left out, and `detail` says so."""
MAX_DETAIL: Final = 200
_CURSOR: Final = re.compile(r"[1-9][0-9]{0,14}-[0-9]{1,10}")
_log = log.get(__name__)


class Record(msgspec.Struct, omit_defaults=True):
    """An entry as the stream has it. Its time is that of the entry's id, by the store's clock."""

    name: str
    via: Via
    action: str
    target: str | None = None
    filter: msgspec.Raw | UnsetType = UNSET
    number: int | None = None
    outcome: AuditOutcome = "begun"
    detail: str | None = None


class AuditLog:
    """Writes and reads the audit log. `write` raises no error of the store."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def write(self, record: Record, begun: str = "") -> str:
        """Store an entry, and return its id; '' if that failed. `begun`: the id of the intent that it replaces."""
        if 0 in self._broker.silent and not begun:
            return self._missed(record, "The store does not answer.")
        try:
            return await self._broker.access.add_audit(msgspec.json.encode(record).decode(), begun)
        except QueueyError as error:
            return self._missed(record, error.message)

    def _missed(self, record: Record, error: str) -> str:
        _log.warning(
            "audit_not_written",
            by=record.name,
            action=record.action,
            target=record.target,
            outcome=record.outcome,
            error=error,
        )
        return ""

    async def page(self, limit: int, cursor: str | None) -> AuditPage:
        """Return entries, the newest first. Raises Invalid for a cursor of another list, or StoreUnavailable."""
        if cursor is not None and not _CURSOR.fullmatch(cursor):
            detail = "is not `next` of a page of this list; leave it out to begin again"
            raise Invalid("The cursor is not valid.", [ParameterFault("cursor", detail)])
        found = await self._broker.access.list_audit(cursor or "", limit + 1)
        entries = [_entry(entry_id, text) for entry_id, text in found[:limit]]
        return AuditPage(entries, entries[-1].id if len(found) > limit else None)


def with_filter(record: Record, given: Any) -> None:
    """Add the filter of an action to its record, unless it is too long."""
    if not given:
        return
    try:
        text = msgspec.json.encode(given)
    except (OverflowError, ValueError):  # the endpoint refuses such a number, too
        record.detail = "The filter cannot be shown."
        return
    if len(text) > MAX_FILTER:
        record.detail = f"The filter has {len(text)} bytes and is left out."
    else:
        record.filter = msgspec.Raw(text)


_decode = msgspec.json.Decoder(Record).decode


def _entry(entry_id: str, text: str) -> AuditEntry:
    found = _decode(text)
    return AuditEntry(
        id=entry_id,
        at=datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC),
        name=found.name,
        via=found.via,
        action=found.action,
        target=found.target,
        filter=None if found.filter is UNSET else msgspec.json.decode(found.filter),
        number=found.number,
        outcome=found.outcome,
        detail=UNSET if found.detail is None else found.detail,
    )

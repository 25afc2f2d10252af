"""The scripts of lua/access/: the secret of sessions, and the audit log. Both are in shard 0."""

from __future__ import annotations

from typing import Final

import msgspec

from queuey.store.broker.calls import Group, word

AUDIT_KEPT: Final = 10_000
"""The audit log keeps about this many entries."""

_entries = msgspec.msgpack.Decoder(list[tuple[str, str]]).decode


class AccessCalls(Group):
    """Keeps the secret that signs sessions, and the audit log."""

    async def session_key(self, new: str = "", *, replace: bool = False) -> str:
        """Return the secret of sessions; '' if there is none. `new` is kept if there is none, or with `replace`."""
        return word(await self._call(0, "session_key", new, replace))

    async def add_audit(self, entry: str, begun: str = "") -> str:
        """Add an entry, and return its id. `begun`: the id of the entry that it replaces."""
        return word(await self._call(0, "add_audit", AUDIT_KEPT, entry, begun))

    async def list_audit(self, before: str, limit: int) -> list[tuple[str, str]]:
        """Return the ids and texts of entries, the newest first. `before`: the id after which the list goes on."""
        return _entries(await self._call(0, "list_audit", before, limit))

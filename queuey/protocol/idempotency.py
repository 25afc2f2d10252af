"""`Idempotency-Key`: the same request again finds the job that the first one made.

A key belongs to the API key that sends it. It holds a dedupe key of its own kind, which no `dedupe_key` can be: `i:`
and a digest of both names. The job's id tells which request made it: most of its random characters are those of a
digest of the request. So a later request with the same key is compared with the first one even when that job's record
is gone, and nothing more is stored.
"""

from __future__ import annotations

import hashlib
from typing import Final

from msgspec import Struct

from queuey.errors import IdempotencyMismatch, Invalid, ParameterFault
from queuey.protocol import ids

HEADER: Final = "Idempotency-Key"
MAX_KEY_BYTES: Final = 256
TTL_MS: Final = 86_400_000
_MARK: Final = 12
"""Characters, 60 bits: another body is not noticed once in 10^18 times."""


class IdempotencyKey(Struct, frozen=True):
    """A request that is to be done once. `key`: the dedupe key that it holds, as it is stored. `mark`: the last
    characters of the id of the job that it makes."""

    key: str
    mark: str

    def new_id(self) -> str:
        return ids.new_id(self.key, ids.short_random()[: 16 - len(self.mark)] + self.mark)

    def check(self, job_id: str) -> None:
        """The job that holds the key was made by this request. Raises IdempotencyMismatch."""
        if not job_id.endswith(self.mark):
            raise IdempotencyMismatch(
                f"This {HEADER} came with another body in the last 24 hours. Send the same body, or a new key."
            )


def once(caller: str, key: bytes, body: bytes) -> IdempotencyKey:
    """What a key, sent by this caller, stands for. Raises Invalid."""
    if not (0 < len(key) <= MAX_KEY_BYTES and all(0x20 <= byte <= 0x7E for byte in key)):
        raise bad_key(f"must be 1 to {MAX_KEY_BYTES} printable ASCII characters")
    space = caller.encode() + b"\0" + key  # neither has a zero byte
    held = hashlib.sha256(space).hexdigest()
    mark = hashlib.sha256(space + b"\0" + body).digest()
    return IdempotencyKey("i:" + held[:40], ids.characters(mark[:_MARK]))


def bad_key(detail: str) -> Invalid:
    return Invalid(f"{HEADER} {detail}.", [ParameterFault(HEADER, detail)])

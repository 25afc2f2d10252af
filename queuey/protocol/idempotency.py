"""`Idempotency-Key`: a repeated request finds the job that the first one created.

A key belongs to the API key that sends it. It is stored as a dedupe key that no `dedupe_key` can equal: `i:` and a
digest of both names. Most random characters of the job's id are a digest of the request. So a later request with the
same key can be compared with the first one, even after that job was deleted, and nothing else is stored.
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
_DIGEST_LENGTH: Final = 12
"""The characters of a digest, 60 bits: another body goes unnoticed once in 10^18 times."""


class IdempotencyKey(Struct, frozen=True):
    """A request that must be done only once.

    `key` is its dedupe key, as it is stored. The id of its job ends in `id_suffix`, the digest of the request.
    """

    key: str
    id_suffix: str

    def new_id(self) -> str:
        """Return a new job id for the request."""
        return ids.new_id(self.key, ids.short_random()[: 16 - len(self.id_suffix)] + self.id_suffix)

    def check(self, job_id: str) -> None:
        """Check that this request created the job that holds the key. Raises IdempotencyMismatch."""
        if not job_id.endswith(self.id_suffix):
            raise IdempotencyMismatch(
                f"This {HEADER} was used with another body in the last 24 hours. Send the same body, or a new key."
            )


def once(caller: str, key: bytes, body: bytes) -> IdempotencyKey:
    """Return the IdempotencyKey for a key and body of this caller. Raises Invalid."""
    check_key(key)
    space = caller.encode() + b"\0" + key  # neither has a zero byte
    dedupe = hashlib.sha256(space).hexdigest()
    digest = hashlib.sha256(space + b"\0" + body).digest()
    return IdempotencyKey("i:" + dedupe[:40], ids.characters(digest[:_DIGEST_LENGTH]))


def check_key(key: bytes) -> None:
    """Check the value of the header. Raises Invalid."""
    if not (0 < len(key) <= MAX_KEY_BYTES and all(0x20 <= byte <= 0x7E for byte in key)):
        raise bad_key(f"must be 1 to {MAX_KEY_BYTES} printable ASCII characters")


def bad_key(detail: str) -> Invalid:
    """Return the error for an invalid key. `detail` is read after the header's name."""
    return Invalid(f"{HEADER} {detail}.", [ParameterFault(HEADER, detail)])

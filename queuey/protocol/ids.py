"""Job ids: 2 base-32 characters of a bucket, then a ULID.

The bucket (0 to 1023) is `crc32(dedupe key) % 1024`, so equal keys are on one shard. Without a key the buckets rotate,
so jobs spread evenly. A job's shard is `bucket % shards`. So any replica finds any job in one hop, a client can make
ids, and ids stay valid when the number of shards changes. The random part of the ULID is always random and never
incremented.
"""

from __future__ import annotations

import itertools
import os
import re
import time
import zlib
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

BUCKETS: Final = 1024
LENGTH: Final = 28
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]
_BUCKET_BY_PAIR: Final = {pair: bucket for bucket, pair in enumerate(_PAIRS)}
_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{2}[0-7][0-9A-HJKMNP-TV-Z]{25}")
_IDS = re.compile(f"(?:{_ID.pattern})*+")
_rotation = itertools.count(int.from_bytes(os.urandom(2), "big"))
_CHARACTERS: Final = bytes(ord(_ALPHABET[byte % 32]) for byte in range(256))
"""The character for each byte: all 32 are equally likely."""
_STOCK: Final = 256
"""The number of ids per system call for random bytes. The call takes longer than the rest of making an id."""
_stock: list[str] = []
os.register_at_fork(after_in_child=_stock.clear)  # a child must not use the same characters as its parent


def bucket_of_key(key: str) -> int:
    """Return the bucket of a dedupe key or of the name of a schedule, 0 to 1023."""
    return zlib.crc32(key.encode()) % BUCKETS


def bucket_of(job_id: str) -> int:
    """Return the bucket of a well-formed id, 0 to 1023."""
    return _BUCKET_BY_PAIR[job_id[:2]]


def new_id(dedupe_key: str | None = None, ending: str | None = None) -> str:
    """Return a new id. With a dedupe key, it has the key's bucket. `ending` replaces the 16 random characters."""
    bucket = next(_rotation) % BUCKETS if dedupe_key is None else bucket_of_key(dedupe_key)
    return _PAIRS[bucket] + _time(time.time_ns() // 1_000_000) + (_random() if ending is None else ending)


def of_tick(schedule: str, uid: str, tick_ms: int) -> str:
    """Return the id of the job of a schedule's tick, which is always the same. It has the bucket of the name."""
    digest = blake2b(f"{uid} {tick_ms}".encode(), digest_size=16).digest()
    return _PAIRS[bucket_of_key(schedule)] + _time(tick_ms) + characters(digest)


def of_trigger(schedule: str, uid: str, at_ms: int, key: str) -> str:
    """Return the id of the job of a trigger with a key, which is always the same. It has the bucket of the name."""
    digest = blake2b(f"{uid} trigger {key}".encode(), digest_size=16).digest()
    return _PAIRS[bucket_of_key(schedule)] + _time(at_ms) + characters(digest)


def new_ids(count: int) -> list[str]:
    """Return new ids without a dedupe key, as `new_id` makes them, in less time than one by one."""
    time_part = _time(time.time_ns() // 1_000_000)
    fresh = characters(os.urandom(16 * count))
    places = range(0, len(fresh), 16)  # the first argument of zip, since it takes one more from a later one
    return [_PAIRS[bucket % BUCKETS] + time_part + fresh[at : at + 16] for at, bucket in zip(places, _rotation)]  # noqa: B905


def characters(data: bytes) -> str:
    """Return one of the 32 characters for each byte."""
    return data.translate(_CHARACTERS).decode()


def is_id(text: str) -> bool:
    """Return whether the text has the form of a job id."""
    return len(text) == LENGTH and _ID.fullmatch(text) is not None


def are_ids(texts: Sequence[str]) -> bool:
    """Return whether each of the texts has the form of a job id. For many it is faster than `is_id`."""
    return all(length == LENGTH for length in set(map(len, texts))) and _IDS.fullmatch("".join(texts)) is not None


def short_random() -> str:
    """Return 12 random characters (60 bits) for a claim id or a replay id."""
    return _random()[:12]


def _random() -> str:
    """Return 16 random characters, 80 bits."""
    try:
        return _stock.pop()  # atomic: no two threads get the same
    except IndexError:
        fresh = os.urandom(16 * _STOCK).translate(_CHARACTERS).decode()
        _stock.extend(fresh[at : at + 16] for at in range(16, len(fresh), 16))
        return fresh[:16]


@lru_cache(maxsize=1)  # the ids of one millisecond share it
def _time(millis: int) -> str:
    """Return milliseconds as 10 characters."""
    return "".join(_PAIRS[millis >> shift & 1023] for shift in (40, 30, 20, 10, 0))

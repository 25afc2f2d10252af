"""Making the keys of unique jobs for the store, and the checks of such requests that the schema cannot make."""

from __future__ import annotations

from typing import Final, NamedTuple

from queuey.errors import Fault, Invalid
from queuey.protocol.models import Debounce, JobRequest, Throttle, Unique
from queuey.protocol.models.unique import MONTH
from queuey.protocol.records import UNIQUE, OnConflict, encode_key
from queuey.protocol.schema_faults import ALLOWED, invalid
from queuey.services.times import to_ms

MAX_KEY_BYTES: Final = 256
KINDS: Final = ("unique", "debounce", "throttle")
"""The fields that make a job unique."""
WAITS: Final = 10
"""The longest wait of a debounced job by default, in its waits."""
_OWN_TIME: Final = {
    "unique": "give the `ttl` of `unique` instead",
    "debounce": "leave it out",
    "throttle": "give the `per` of `throttle` instead",
}
"""What to do with a `dedupe_ttl`, which would say nothing beside these fields."""
_LETTERS: Final = {"ttl": "", "started": "s", "finished": "f"}


class Terms(NamedTuple):
    """The terms on which a unique job holds its key, as the script takes it. `until`: a letter, '' = for the TTL."""

    key: str
    ttl_ms: int
    until: str
    on_conflict: OnConflict


def is_key(key: str) -> bool:
    """Return whether a text may be a dedupe key, a unique key, or the key of a batch."""
    return bool(key) and len(key.encode()) <= MAX_KEY_BYTES and key.isprintable()


def terms_of(request: JobRequest, due_in_ms: int, dedupe_ttl_ms: int) -> Terms | None:
    """Return how the job holds its key, None if it is not unique. Raises Invalid."""
    one = request.unique or request.debounce or request.throttle
    if one is None:
        return None
    check_unique(request)
    check_times_of_unique(request, due_in_ms)
    ttl_ms, on_conflict = to_ms(MONTH), OnConflict()
    if isinstance(one, Throttle):
        until, ttl_ms = "", max(1, to_ms(one.per))
    elif isinstance(one, Debounce):
        until, wait_ms = "s", max(1, to_ms(one.wait))
        on_conflict = OnConflict("replace", wait_ms, to_ms(longest(one)))
    else:
        until, on_conflict = _LETTERS[one.until], OnConflict(one.on_conflict)
        if one.ttl is not None:
            ttl_ms = max(1, to_ms(one.ttl))
        elif not until:
            ttl_ms = min(ttl_ms, dedupe_ttl_ms)
    return Terms(UNIQUE + encode_key(one.key), ttl_ms, until, on_conflict)


def check_unique(request: JobRequest) -> None:
    """Check the key, and that there is only one. Raises Invalid."""
    given = [field for field in ("dedupe_key", *KINDS) if getattr(request, field) is not None]
    if len(given) > 1:
        detail = f"cannot be given together with {given[1]}; leave one out"
        raise Invalid(f"{given[0]} {detail}.", [Fault(f"/{field}", detail) for field in given])
    unique = request.unique
    for field in KINDS:
        one = getattr(request, field)
        if one is not None and request.dedupe_ttl is not None:
            raise invalid("/dedupe_ttl", f"is for a dedupe_key, and the job has `{field}`; {_OWN_TIME[field]}")
        if one is not None and not is_key(one.key):
            raise invalid(f"/{field}/key", f"must be {ALLOWED[f'/{field}/key']}")
    if unique is not None and (unique.until, unique.on_conflict) == ("ttl", "replace"):
        raise invalid(
            "/unique/on_conflict",
            'cannot be "replace" with `until` "ttl", since the job with the key may have ended; take "started" or '
            '"finished"',
        )


def check_times_of_unique(request: JobRequest, due_in_ms: int = 0) -> None:
    """Check the times of a unique job against those of its key. Raises Invalid."""
    unique, debounce = request.unique, request.debounce
    if debounce is not None:
        _check_debounce(request, debounce)
    if unique is not None and unique.until != "ttl" and due_in_ms >= to_ms(_held_for(unique)):
        raise invalid(
            "/unique/ttl",
            "must be longer than the time until the job is due (delay or run_at). A key is held for 30 days at most",
        )


def _check_debounce(request: JobRequest, debounce: Debounce) -> None:
    given = [field for field in ("delay", "run_at") if getattr(request, field) is not None]
    if given:
        detail = "cannot be given together with debounce, whose `wait` is the delay; leave one out"
        raise Invalid(f"{given[0]} {detail}.", [Fault(f"/{field}", detail) for field in given])
    if longest(debounce) < debounce.wait:
        raise invalid("/debounce/max_wait", "must be at least `wait`")
    if request.expires_in is not None and request.expires_in <= longest(debounce):
        raise invalid("/expires_in", f"must be longer than the longest wait, {longest(debounce):g} s (max_wait)")


def longest(debounce: Debounce) -> float:
    """Return the longest time that a debounced job waits, in seconds."""
    return min(MONTH, WAITS * debounce.wait) if debounce.max_wait is None else debounce.max_wait


def _held_for(unique: Unique) -> float:
    return MONTH if unique.ttl is None else unique.ttl

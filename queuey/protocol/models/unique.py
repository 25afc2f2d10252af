"""Unique jobs: of one key, one job at a time."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

DAY: Final = 24 * 3600
MONTH: Final = 30 * DAY
"""The longest time for which a key is held: 30 days."""

Until = Literal["ttl", "started", "finished"]
Key = Annotated[str, Meta(min_length=1, max_length=256)]
Hold = Annotated[float, Meta(gt=0, le=MONTH)]


class Unique(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Keep jobs of one key apart. The job holds the key until it has finished, until it has started, or for the TTL.

    `on_conflict` says what happens to a request while another job holds the key: it returns the id of that job; it is
    rejected with 409; or it replaces the payload of that job while it waits, and follows it while it runs.
    """

    key: Key
    until: Until = "finished"
    on_conflict: Literal["return", "reject", "replace"] = "return"
    ttl: Hold | None = None
    """Seconds after which the key is free in any case. Default: 30 days; with `until` "ttl", the setting dedupe_ttl."""


class Debounce(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Run once when no request with this key has come for `wait` seconds, with the payload of the last one.

    It runs at the latest `max_wait` seconds after the first request. Default: 10 times `wait`, at most 30 days.
    """

    key: Key
    wait: Annotated[float, Meta(gt=0, le=DAY)]
    max_wait: Hold | None = None


class Throttle(Struct, frozen=True, forbid_unknown_fields=True):
    """Enqueue at most one job with this key in `per` seconds. Further requests return the id of the first job."""

    key: Key
    per: Hold


class UniqueKey(Struct):
    """The key of a unique job, as its record has it. The job may have freed it. `ttl` is in seconds."""

    key: str
    until: Until
    ttl: float

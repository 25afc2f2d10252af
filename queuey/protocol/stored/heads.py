"""Reading queue and attempts from the header of a definition, whose text many jobs have in common."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from queuey.protocol.records import DEFAULT_MAX_ATTEMPTS, DEFAULT_QUEUE, FIELD, header_fields

MAX_SHARED: Final = 100
"""The maximum number of characters of a header that is remembered. A longer one has a dedupe key, so it is unique."""


def queue_and_attempts(head: str) -> tuple[str, int]:
    """Return the queue and max_attempts of a definition's header, the same as `job_fields` returns.

    Most headers differ only in their time, which comes first, so the rest is parsed once for many jobs.
    """
    time, _, others = head.partition(" ")
    if time[:2] == "r=" and time[2:].isdigit() and len(others) <= MAX_SHARED:
        return _of_others(others)
    return _queue_and_attempts(header_fields(head))


def ready_queue_attempts(head: str) -> tuple[int, tuple[str, int]]:
    """Return the same, behind the time at which the job became ready, or will be due. Raises KeyError without a time.

    Every job that a server runs is read so, and two functions would divide its header twice.
    """
    time, _, others = head.partition(" ")
    if time[:2] == "r=" and (ready_ms := time[2:]).isdigit() and len(others) <= MAX_SHARED:
        return int(ready_ms), _of_others(others)
    fields = header_fields(head)
    return int(fields["r"]), _queue_and_attempts(fields)


@lru_cache(maxsize=256)
def _of_others(fields: str) -> tuple[str, int]:
    return _queue_and_attempts(dict(FIELD.findall(fields)))


def _queue_and_attempts(fields: Mapping[str, str]) -> tuple[str, int]:
    return fields.get("q", DEFAULT_QUEUE), int(fields.get("m", DEFAULT_MAX_ATTEMPTS))

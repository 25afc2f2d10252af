"""Comparisons of the result with the expected one. Without a difference they return an empty list."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

NAMED_AT_MOST = 5  # of a kind, so that one cause does not fill the screen


def differing_files(expected: Mapping[str, tuple[int, int]], found: Mapping[str, tuple[int, int] | str]) -> list[str]:
    """Compare names and sizes in pixels. A file that does not open is `found` as its error's text."""
    differences = _named("thumbnail is missing", expected.keys() - found.keys())
    differences += _named("file was not asked for", found.keys() - expected.keys())
    both = sorted(expected.keys() & found.keys())
    broken = [f"{name} ({found[name]})" for name in both if isinstance(found[name], str)]
    differences += _named("thumbnail does not open", broken)
    sizes = [
        f"{name} ({_size(found[name])} instead of {_size(expected[name])})"
        for name in both
        if not isinstance(found[name], str) and found[name] != expected[name]
    ]
    return differences + _named("thumbnail has another size", sizes)


def differing_statuses(expected: Mapping[str, str], records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Compare the records of jobs with the expected status of each id."""
    statuses = {record["id"]: record["status"] for record in records}
    wrong = [
        f"{job_id} ({statuses.get(job_id, 'unknown')} instead of {status})"
        for job_id, status in expected.items()
        if statuses.get(job_id) != status
    ]
    return _named("job is not as it should be", wrong)


def differing_metrics(metrics: Mapping[str, Any], dead: int) -> list[str]:
    """Compare `GET /v1/queues/metrics` with empty lanes and `dead` jobs in the dead-letter queue."""
    expected = {f"queue_{lane}_length": 0 for lane in ("high", "default", "low")} | {"queue_dlq_length": dead}
    return [
        f"{name} is {metrics.get(name)} instead of {length}"
        for name, length in expected.items()
        if metrics.get(name) != length
    ]


def differing_ids(sent: Sequence[str], answered: Sequence[str]) -> list[str]:
    """Compare the ids that were sent with those that the server answered."""
    wrong = [f"{theirs} instead of {ours}" for ours, theirs in zip(sent, answered, strict=True) if ours != theirs]
    return _named("job was given another id", wrong)


def _named(what: str, names: Collection[str]) -> list[str]:
    if not names:
        return []
    shown = sorted(names)[:NAMED_AT_MOST]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return [f"{len(names)} x {what}: {', '.join(shown)}{more}"]


def _size(size: tuple[int, int] | str) -> str:
    return size if isinstance(size, str) else f"{size[0]} x {size[1]}"

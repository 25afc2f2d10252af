"""The plain report of results: a batch without a fault, read in one go.

Most batches are plain: each job has an id, a token and a result that can be stored. Such a batch is decoded once, and
its results are checked together. Any other body is left to LeaseRequests, which finds the error of each job.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

from queuey.protocol import ids
from queuey.protocol.json.checks import is_deeper
from queuey.protocol.models import MAX_LEASED, NULL, CompleteItem, Token
from queuey.store.broker.calls import MAX_BYTES

WORTH_A_GROUP: Final = 4
"""The least number of jobs that are faster together than one by one."""
CHECKED_AT_ONCE: Final = 100
"""The number of results that are decoded together to check them. It bounds the objects in memory."""
MAX_PLAIN: Final = MAX_BYTES
"""The maximum size of a plain batch in bytes, so that its jobs fit in one call of the script."""
MIN_PLAIN: Final = 200
"""The minimum size of a plain batch in bytes: that of WORTH_A_GROUP jobs with the shortest tokens and no results."""
MAX_START: Final = 20
"""The bytes in which a batch shows that it is one. A single job is not decoded twice."""

_decode_any = msgspec.json.Decoder().decode


class _Item(Struct, forbid_unknown_fields=True, gc=False):
    id: str
    token: str
    result: Raw = NULL


class _Batch(Struct, forbid_unknown_fields=True):
    jobs: Annotated[list[_Item], Meta(min_length=1, max_length=MAX_LEASED)]


_decode_batch = msgspec.json.Decoder(_Batch).decode


class GivenResults(Struct):
    """The results of several jobs, in the order of the request. Each is JSON on one line, or '' if there is none."""

    ids: list[str]
    tokens: list[str]
    results: list[str]

    def items(self) -> list[CompleteItem]:
        """Return an item for each job."""
        return [
            CompleteItem(job_id, token, Raw(result.encode()) if result else NULL)
            for job_id, token, result in zip(self.ids, self.tokens, self.results, strict=True)
        ]


class PlainResults:
    """Reads plain batches. `depth` and `result_limit` (bytes) are settings."""

    def __init__(self, depth: int, result_limit: int) -> None:
        self._depth = depth
        self._result_limit = result_limit

    def read(self, text: bytes) -> GivenResults | None:
        """Return the results of a plain batch, or None for any other body."""
        if not MIN_PLAIN <= len(text) <= MAX_PLAIN or b'"jobs"' not in text[:MAX_START] or not _is_utf8(text):
            return None
        try:
            jobs = _decode_batch(text).jobs
            job_ids, tokens = [job.id for job in jobs], [job.token for job in jobs]
            if len(jobs) < WORTH_A_GROUP or not ids.are_ids(job_ids):
                return None
            msgspec.convert(list(set(tokens)), list[Token])
            results = self._results(text, [job.result for job in jobs])
        except (msgspec.DecodeError, RecursionError):
            return None
        return None if results is None else GivenResults(job_ids, tokens, results)

    def _results(self, text: bytes, raw: Sequence[Raw]) -> list[str] | None:
        """Return the results as they are stored, or None if one must not be. Raises DecodeError or RecursionError."""
        whole = b",\n".join(raw)
        if _brackets(text) != _brackets(whole) + len(raw) + 2:
            return None  # a field that came twice hides a value, and its depth counts too
        if _names(text) != _names(whole) + 2 * len(raw):
            return None  # an id or a token that came twice hides one, which may be wrong
        for first in range(0, len(raw), CHECKED_AT_ONCE):
            some = b"[%b]" % b",".join(raw[first : first + CHECKED_AT_ONCE])
            if is_deeper(some, self._depth + 1):
                return None
            _decode_any(some)
        results = whole.decode().split(",\n")
        if len(results) != len(raw) or b"\r" in whole:
            return None  # a result has several lines
        longest = max(map(len, results if whole.isascii() else map(str.encode, results)))
        return None if longest > self._result_limit else ["" if one == "null" else one for one in results]


def _brackets(text: bytes) -> int:
    """Return how many arrays and objects are opened, or more if strings contain such characters."""
    return text.count(b"[") + text.count(b"{")


def _names(text: bytes) -> int:
    """Return how often id and token are given, or more if other texts look like them or a name is escaped."""
    return text.count(b'"id"') + text.count(b'"token"') + text.count(b"\\u00")


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True

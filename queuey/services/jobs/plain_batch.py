"""Batches of plain jobs: what jobs have in common is checked, made and sent once for all of them.

A plain job has a type, and perhaps a payload, a queue, a priority and an id. It is due at once and has no dedupe key.
Submission is the reference: whatever is not plain, or not right, is left to it, item by item, and gets its answer. So
this module reports no errors. It must refuse all that Submission refuses, and make the same jobs:

-  Nesting, UTF-8, numbers, the schema and all limits are checked, for many items at a time where that is equal.
-  Type and queue are plain strings for the decoder, since a pattern costs more than all the rest. The names are checked
   once for each combination. The decoder keeps the last value if a field is given twice, so an earlier one would not be
   checked. `read` counts the fields' names, and leaves such a batch, or one that may be, to `read_each`.
-  A definition is the encoder's own text around the payload's text.
-  The jobs of a queue and a priority keep their order on each shard: a group ends where the header changes, and all
   groups end before a job that is sent by itself. A repeated id is sent by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from queuey.errors import QueueyError
from queuey.protocol import ids
from queuey.protocol.json.checks import are_payloads, is_deeper
from queuey.protocol.models import Name, Priority
from queuey.protocol.records import NewJob, NewJobs
from queuey.protocol.stored.items import NewItem
from queuey.services.jobs.plain import Frame, Lane, PlainItem
from queuey.services.jobs.submission import Decoder, Limits, Submission
from queuey.store.broker.calls import MAX_BATCH, MAX_BYTES
from queuey.store.shards import Shards

CHUNK: Final = 100
"""The number of payloads that are decoded together."""
CHUNK_BYTES: Final = 100_000
"""Larger payloads are decoded one by one, so that what is decoded at a time stays small."""
_ID_BYTES: Final = 40
_GROUP_BYTES: Final = 100


class CheckedItem(PlainItem, forbid_unknown_fields=True, gc=False):
    """A plain job whose names the decoder checks, each time that they are given."""

    type: Name
    queue: Name | None = None


_decode_all: Final = msgspec.json.Decoder(list[PlainItem]).decode
_decode_one: Final = msgspec.json.Decoder(PlainItem).decode
_decode_checked: Final = msgspec.json.Decoder(CheckedItem).decode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Items = list[PlainItem | None]
"""The items of a batch; None stands for one that Submission must read."""
Check = Callable[[int], NewJob | NewItem | QueueyError]
"""Has Submission read the item at a place of the batch."""


class Batch(NamedTuple):
    """A batch to send: `items` in this order, and for each the places of its jobs in the batch.

    `errors`: by place, of the jobs that are not sent. `ids`: those of the plain jobs, in the order of the batch.
    `added`: by place, what becomes an item of a job.
    """

    items: list[NewJob | NewJobs]
    places: list[list[int]]
    errors: dict[int, QueueyError]
    ids: list[str]
    added: dict[int, NewItem]


def read(body: bytes, lines: Sequence[bytes] | None, limit: int) -> Items | None:
    """Return the items of a batch, an array or lines of JSON, if all are plain and no field is given twice."""
    types = body.count(b'"type"')
    if types > limit:
        return None
    try:
        if not body.isascii():
            body.decode()
        items = _decode_all(body) if lines is None else [_decode_one(line) for line in lines]
    except _UNREADABLE:
        return None
    return [*items] if types == len(items) and _has_no_field_twice(body, items) else None


def _has_no_field_twice(body: bytes, items: Sequence[PlainItem]) -> bool:
    """Return whether payload and queue are named as often as items have them, and no name is escaped.

    A name in a payload or in a text counts too, so False may be wrong, and True is right.
    """
    return (
        b"\\u00" not in body
        and body.count(b'"payload"') == sum([1 for item in items if item.payload])
        and body.count(b'"queue"') == sum([1 for item in items if item.queue])
    )


class PlainBatches:
    """Makes groups of the plain jobs of batches."""

    def __init__(self, submission: Submission) -> None:
        self._submission = submission

    def read_each(self, raws: Sequence[bytes | Raw]) -> Items:
        """Return the items of a batch that `read` cannot read. Its text must have been checked."""
        deepest = self._submission.limits.depth + 1
        return [_read_one(bytes(raw), deepest) for raw in raws]

    def group(
        self, items: Items, shards: Shards, may: Callable[[str], bool], traceparent: str | None, check: Check
    ) -> Batch:
        """Return the batch to send.

        `may`: whether the caller may submit to a queue. `traceparent`: that of the request.
        """
        _drop_bad_ids(items)
        _drop_large(items, self._submission.limits)
        texts = ["null" if item is None else str(item.payload, "utf-8") or "null" for item in items]
        _drop_bad_payloads(items, texts)
        frames = _Frames(self._submission, may, traceparent)
        framed = frames.of(items, texts)
        read_here = {place: check(place) for place, frame in enumerate(framed) if frame is None}
        errors = {place: job for place, job in read_here.items() if isinstance(job, QueueyError)}
        single = {place: job for place, job in read_here.items() if isinstance(job, NewJob)}
        added = {place: item for place, item in read_here.items() if isinstance(item, NewItem)}
        gathering = _Gathering(shards, framed, texts, _ids_of(items))
        begin = 0
        for end in () if not single and frames.have_one_head() else _breaks(framed, single):
            gathering.add(range(begin, end))
            begin = end
            if end in single:
                gathering.add_single(end, single[end])
        gathering.add(range(begin, len(items)))
        return Batch(gathering.items, gathering.places, errors, gathering.ids, added)


def _read_one(raw: bytes, deepest: int) -> PlainItem | None:
    if is_deeper(raw, deepest):
        return None
    try:
        return _decode_checked(raw)
    except _UNREADABLE:
        return None


def _drop_large(items: Items, limits: Limits) -> None:
    """Drop the items whose payloads are too large or nested too deep. A level takes at least two bytes."""
    harmless = min(limits.payload, 2 * limits.depth + 1)
    for place, item in enumerate(items):
        if item is None or (size := len(item.payload)) <= harmless:
            continue
        if size > limits.payload or is_deeper(bytes(item.payload), limits.depth):
            items[place] = None


def _drop_bad_ids(items: Items) -> None:
    """Drop the items whose id is not one, or came before: the first of them must be sent first."""
    seen: set[str] = set()
    for place, item in enumerate(items):
        if item is None or item.id is None:
            continue
        if item.id in seen or not ids.is_id(item.id):
            items[place] = None
        seen.add(item.id)


def _drop_bad_payloads(items: Items, texts: Sequence[str]) -> None:
    for first in range(0, len(texts), CHUNK):
        chunk = texts[first : first + CHUNK]
        if sum(map(len, chunk)) <= CHUNK_BYTES and are_payloads(chunk):
            continue
        for place, text in enumerate(chunk, first):
            if not are_payloads([text]):
                items[place] = None


class _Frames(dict[tuple[str, str | None, Priority], Frame | None]):
    """The frame of each type, queue (None: not named) and priority.

    None: such a job is not right, its queue is uncertain, or the caller may not submit it.
    """

    def __init__(self, submission: Submission, may: Callable[[str], bool], traceparent: str | None) -> None:
        self._submission = submission
        self._may = may
        self._traceparent = traceparent

    def __missing__(self, key: tuple[str, str | None, Priority]) -> Frame | None:
        job_type, queue, priority = key
        queue = queue or self._submission.queues.plain[job_type]
        may = queue and self._may(queue)
        frame = self[key] = self._submission.frame(job_type, queue, priority, self._traceparent) if may else None
        return frame

    def have_one_head(self) -> bool:
        """Return whether all jobs of a queue and a priority have the same header."""
        lanes = {frame.lane for frame in self.values() if frame is not None}
        return len(lanes) == len({(lane.queue, lane.priority) for lane in lanes})

    def of(self, items: Items, texts: Sequence[str]) -> list[Frame | None]:
        """Return the frame of each item, whose payloads are `texts`. None: the item is not plain or not right."""
        found = [None if item is None else self[item.type, item.queue, item.priority] for item in items]
        types = {job_type for (job_type, _, _), frame in self.items() if frame is not None}
        decoders = {job_type: decode for job_type in types if (decode := self._submission.decoder_of(job_type))}
        if not decoders:
            return found
        return [
            frame if item is None or item.type not in decoders or _fits(decoders[item.type], text) else None
            for item, frame, text in zip(items, found, texts, strict=True)
        ]


class _Gathering:
    """Gathers the jobs of one batch in the order in which they are sent."""

    def __init__(self, shards: Shards, frames: Sequence[Frame | None], texts: Sequence[str], ids: list[str]) -> None:
        self._shards = shards
        self._frames = frames
        self.ids = ids
        self._bodies = [
            "" if frame is None else frame.bare if text == "null" else f"{frame.before}{text}{frame.after}"
            for frame, text in zip(frames, texts, strict=True)
        ]
        self.items: list[NewJob | NewJobs] = []
        self.places: list[list[int]] = []

    def add_single(self, place: int, job: NewJob) -> None:
        """Add a job that is sent by itself, behind all that were added before."""
        self.items.append(job)
        self.places.append([place])

    def add(self, places: Iterable[int]) -> None:
        """Add the plain jobs among these places, in groups. A queue and priority has one header among them."""
        by_lane: defaultdict[tuple[int, Lane], list[int]] = defaultdict(list)
        shard, many = 0, self._shards.count > 1
        for place in places:
            frame = self._frames[place]
            if frame is None:
                continue
            if many:
                shard = self._shards.of_job(self.ids[place])
            by_lane[shard, frame.lane].append(place)
        for (_, lane), own in by_lane.items():
            for first in range(0, len(own), MAX_BATCH):
                self._add_group(lane, own[first : first + MAX_BATCH])

    def _add_group(self, lane: Lane, places: list[int]) -> None:
        """Add a group, or two or more if it is too large for one call."""
        bodies = [self._bodies[place] for place in places]
        size = _GROUP_BYTES + len(lane.head) + _ID_BYTES * len(bodies)
        size += sum([len(body) if body.isascii() else len(body.encode()) for body in bodies])
        if size > MAX_BYTES and len(places) > 1:
            half = len(places) // 2
            self._add_group(lane, places[:half])
            self._add_group(lane, places[half:])
            return
        self.items.append(NewJobs(*lane, [self.ids[place] for place in places], bodies, size))
        self.places.append(places)


def _breaks(frames: Sequence[Frame | None], single: Container[int]) -> Iterator[int]:
    """Yield the places before which all groups must end: of a job that is sent by itself, and of another header."""
    heads: dict[tuple[str, str], str] = {}
    for place, frame in enumerate(frames):
        if place in single:
            heads.clear()
            yield place
        elif frame is not None:
            queue, priority, head = frame.lane
            if heads.setdefault((queue, priority), head) != head:
                heads = {(queue, priority): head}
                yield place


def _ids_of(items: Items) -> list[str]:
    """Return the ids of the plain jobs, given or new, and an empty one for each other item."""
    fresh = iter(ids.new_ids(sum([1 for item in items if item is not None and item.id is None])))
    return ["" if item is None else item.id or next(fresh) for item in items]


def _fits(decode: Decoder, text: str) -> bool:
    try:
        decode(text.encode())
    except Exception:  # also an error of a validator of the handler's own, which `check_fit` knows how to take
        return False
    return True

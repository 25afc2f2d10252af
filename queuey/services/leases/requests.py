"""Parsing the bodies of pull workers' requests. It does no I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from queuey.errors import Fault, Invalid, Malformed, QueueyError, TooLarge
from queuey.protocol.allowed import SOON, Form, form_of
from queuey.protocol.json.checks import check_payload, check_text, decode, decode_body, is_deeper
from queuey.protocol.models import (
    MAX_CHECKPOINT,
    MAX_ISOLATES,
    MAX_LEASE_TYPES,
    MAX_LEASED,
    MAX_LOG_LINES,
    NULL,
    CheckpointItem,
    CompleteItem,
    ExtendItem,
    FailItem,
    LeaseRequest,
    LogItem,
    ReleaseItem,
)
from queuey.protocol.schema_faults import Check, SecondLooks, invalid, together, with_all_faults

AROUND: Final = 3
"""The levels of JSON around a result in a batch."""
_WORDS: Final = {
    "/claim_id": "1 to 64 letters, digits, '-' and '_'",
    "/id": "the id of a job",
    "/token": "the token that came with the job",
    "/lines": f"an array of at most {MAX_LOG_LINES} lines: the last ones of the attempt",
    "/lines/*/at": f"a date, a time with seconds, and a time zone, such as {SOON}",
    "/types": f"an array of 1 to {MAX_LEASE_TYPES} types (leave it out to take every type)",
    "/room": f"an array of 1 to {MAX_LEASE_TYPES} objects (leave it out if there is room for `max` jobs of each type)",
    "/room/*/types": f"an array of 1 to {MAX_LEASE_TYPES} types",
    "/type_queues": f"an object that has, for each queue, an array of 1 to {MAX_LEASE_TYPES} types",
    "/isolates": f"an integer from 0 to {MAX_ISOLATES} (leave it out if no job can have a process of its own)",
}
_WHOLE: Final = "The body"

Item = TypeVar("Item", bound=CheckpointItem | CompleteItem | FailItem | ExtendItem | LogItem | ReleaseItem)


class _Probe(Struct):
    jobs: Raw | msgspec.UnsetType = msgspec.UNSET


class _RawBatch(Struct, forbid_unknown_fields=True):
    jobs: list[Raw]


_BATCH: Final = form_of(_RawBatch, _WHOLE, {"/jobs": f"an array of 1 to {MAX_LEASED} objects"})


class Given(Struct, Generic[Item]):
    """The items of a request. `single`: one item outside a batch. An invalid item is replaced by its error."""

    single: bool
    items: list[Item | QueueyError]


class LeaseRequests:
    """Parses the bodies. `depth` and `result_limit` (bytes) are settings."""

    def __init__(self, depth: int, result_limit: int) -> None:
        self._depth = depth
        self._result_limit = result_limit
        self.complete: Callable[[bytes], Given[CompleteItem]] = _Reader(
            CompleteItem, self, Check(self._check_result, ("result",))
        ).read
        self.fail: Callable[[bytes], Given[FailItem]] = _Reader(
            FailItem, self, Check(_check_snooze, ("dead", "retry_after", "snooze"))
        ).read
        self.checkpoint: Callable[[bytes], Given[CheckpointItem]] = _Reader(
            CheckpointItem, self, Check(self._check_checkpoint, ("checkpoint",))
        ).read
        self.extend: Callable[[bytes], Given[ExtendItem]] = _Reader(ExtendItem, self).read
        self.log: Callable[[bytes], Given[LogItem]] = _Reader(LogItem, self).read
        self.release: Callable[[bytes], Given[ReleaseItem]] = _Reader(ReleaseItem, self).read
        self._lease = msgspec.json.Decoder(LeaseRequest)
        self._lease_form = _form(LeaseRequest)

    def lease(self, text: bytes) -> LeaseRequest:
        """Parse a request for leases. A queue or type that it names twice is listed once.

        Raises Malformed or Invalid.
        """
        self.check(text)
        request = decode_body(self._lease, text, self._lease_form, *_LEASE_CHECKS)
        request.queues = list(dict.fromkeys(request.queues))
        if request.types:
            request.types = list(dict.fromkeys(request.types))
        return request

    def check(self, text: bytes) -> None:
        """Raise Malformed if a body is empty or nested too deeply."""
        if not text or text.isspace():
            raise Malformed("The body is empty. Send a JSON object.")
        check_text(text, self._depth, AROUND)

    def _check_result(self, item: CompleteItem) -> None:
        if item.result is not NULL:
            item.result = self._checked(item.result, "result", self._result_limit)

    def _check_checkpoint(self, item: CheckpointItem) -> None:
        item.checkpoint = self._checked(item.checkpoint, "checkpoint", MAX_CHECKPOINT)

    def _checked(self, value: Raw, name: str, limit: int) -> Raw:
        """Return a value on one line, within the limit in bytes. Raises TooLarge, Malformed or Invalid."""
        text = bytes(value)
        if len(text) > limit:
            detail = f"has {len(text)} bytes; send at most {limit}"
            message = f"The {name} has {len(text)} bytes. Send at most {limit}."
            raise TooLarge(message, [Fault(f"/{name}", detail)])
        if is_deeper(text, self._depth):
            raise Malformed(f"The {name} is nested deeper than the {self._depth} levels that are allowed.")
        check_payload(text, name)
        if b"\n" in text or b"\r" in text:  # only between values, since strings escape them
            return Raw(text.replace(b"\r", b" ").replace(b"\n", b" "))
        return value


def _check_snooze(item: FailItem) -> None:
    """Raise Invalid if a snooze comes with another outcome."""
    if item.snooze in (None, UNSET):
        return
    if item.dead:
        raise invalid("/dead", "is true beside snooze; send one of them", _WHOLE)
    if item.retry_after is not None:
        raise invalid("/retry_after", "is there beside snooze; send one of them", _WHOLE)


def _check_room(request: LeaseRequest) -> None:
    """Check the room of a request, and list each type once. Raises Invalid."""
    seen: set[str] = set()
    found: list[Invalid] = []
    for place, entry in enumerate(request.room or ()):
        entry.types = list(dict.fromkeys(entry.types))
        if twice := next((name for name in entry.types if name in seen), None):
            detail = f"has {twice!r}, which another entry has too; name each type once"
            found.append(invalid(f"/room/{place}/types", detail))
        seen.update(entry.types)
    if request.room and (count := len(seen.union(request.types or ()))) > MAX_LEASE_TYPES:
        found.append(invalid("/room", f"and types name {count} types; name at most {MAX_LEASE_TYPES}"))
    if found:
        raise together(found)


def _check_type_queues(request: LeaseRequest) -> None:
    """Check that `type_queues` has queues and types of the request only, and each type once. Raises Invalid."""
    queues, types = set(request.queues), set(request.types or ())
    types.update(*(entry.types for entry in request.room or ()))
    for queue, named in (request.type_queues or {}).items():
        if queue not in queues:
            raise invalid("/type_queues", f"has the queue {queue!r}, which is not in queues")
        for name in named:
            if name not in types:
                raise invalid("/type_queues", f"has the type {name!r} twice, or it is neither in types nor in room")
            types.remove(name)


_LEASE_CHECKS: Final = (
    Check(_check_room, ("room", "types")),
    Check(_check_type_queues, ("queues", "room", "type_queues", "types")),
)


class _Reader(Generic[Item]):
    """Parses bodies of one kind: one item, or `{"jobs": [...]}`."""

    def __init__(self, item_type: type[Item], requests: LeaseRequests, *checks: Check) -> None:
        self._decoder = msgspec.json.Decoder(item_type)
        self._form = _form(item_type)
        self._requests = requests
        self._checks = checks

    def read(self, text: bytes) -> Given[Item]:
        """Parse a body. Raises Malformed, Invalid or TooLarge; for a batch only if it cannot be split."""
        self._requests.check(text)
        if decode_body(_probe, text, _BATCH).jobs is msgspec.UNSET:
            return Given(True, [decode_body(self._decoder, text, self._form, *self._checks)])
        raw = decode_body(_raw_batch, text, _BATCH).jobs
        if not raw:
            raise invalid("/jobs", f"must be {_BATCH.allowed['/jobs']}")
        if len(raw) > MAX_LEASED:
            raise TooLarge(f"The batch has {len(raw)} jobs. Send at most {MAX_LEASED}.")
        looks = SecondLooks()
        return Given(False, [self._item_or_error(item, looks) for item in raw])

    def _item_or_error(self, text: Raw, looks: SecondLooks) -> Item | QueueyError:
        try:
            item = decode(self._decoder, text, self._form)
            for check in self._checks:
                check.run(item)
        except Invalid as error:
            return with_all_faults(error, text, self._form, *self._checks) if looks.take() else error
        except QueueyError as error:
            return error
        return item


_probe: Final = msgspec.json.Decoder(_Probe)
_raw_batch: Final = msgspec.json.Decoder(_RawBatch)


def _form(struct: type[Struct]) -> Form:
    return form_of(struct, _WHOLE, _WORDS)

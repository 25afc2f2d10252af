"""Parsing the bodies of pull workers' requests. It does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from queuey.errors import Fault, Malformed, QueueyError, TooLarge
from queuey.protocol.allowed import Form, form_of
from queuey.protocol.json_checks import check_payload, check_text, is_deeper, why_not_json
from queuey.protocol.models import (
    MAX_ISOLATES,
    MAX_LEASE_TYPES,
    MAX_LEASED,
    NULL,
    CompleteItem,
    ExtendItem,
    FailItem,
    LeaseRequest,
    LeaseRoom,
    ReleaseItem,
)
from queuey.protocol.schema_faults import explain, invalid

AROUND: Final = 3
"""The levels of JSON around a result in a batch."""
_WORDS: Final = {
    "/claim_id": "1 to 64 letters, digits, '-' and '_'",
    "/id": "the id of a job",
    "/token": "the token that came with the job",
    "/types": f"an array of 1 to {MAX_LEASE_TYPES} types (leave it out to take every type)",
    "/room": f"an array of 1 to {MAX_LEASE_TYPES} objects (leave it out if there is room for `max` jobs of each type)",
    "/room/*/types": f"an array of 1 to {MAX_LEASE_TYPES} types",
    "/type_queues": f"an object that has, for each queue, an array of 1 to {MAX_LEASE_TYPES} types",
    "/isolates": f"an integer from 0 to {MAX_ISOLATES} (leave it out if no job can have a process of its own)",
}
_WHOLE: Final = "The body"
_BATCH: Final = Form({"": "a JSON object", "/jobs": f"an array of 1 to {MAX_LEASED} objects"}, {"": ("jobs",)}, _WHOLE)

Item = TypeVar("Item", bound=CompleteItem | FailItem | ExtendItem | ReleaseItem)


class _Probe(Struct):
    jobs: Raw | msgspec.UnsetType = msgspec.UNSET


class _RawBatch(Struct, forbid_unknown_fields=True):
    jobs: list[Raw]


class Given(Struct, Generic[Item]):
    """The items of a request. `single`: one item outside a batch. An invalid item is replaced by its error."""

    single: bool
    items: list[Item | QueueyError]


class LeaseRequests:
    """Parses the bodies. `depth` and `result_limit` (bytes) are settings."""

    def __init__(self, depth: int, result_limit: int) -> None:
        self._depth = depth
        self._result_limit = result_limit
        self.complete: Callable[[bytes], Given[CompleteItem]] = _Reader(CompleteItem, self, self._check_result).read
        self.fail: Callable[[bytes], Given[FailItem]] = _Reader(FailItem, self).read
        self.extend: Callable[[bytes], Given[ExtendItem]] = _Reader(ExtendItem, self).read
        self.release: Callable[[bytes], Given[ReleaseItem]] = _Reader(ReleaseItem, self).read
        self._lease = msgspec.json.Decoder(LeaseRequest)
        self._lease_form = _form(LeaseRequest)

    def lease(self, text: bytes) -> LeaseRequest:
        """Parse a request for leases. A queue or type that it names twice is listed once.

        Raises Malformed or Invalid.
        """
        self.check(text)
        request = decode(self._lease, text, self._lease_form)
        request.queues = list(dict.fromkeys(request.queues))
        if request.types:
            request.types = list(dict.fromkeys(request.types))
        if request.room:
            _check_room(request.room, request)
        if request.type_queues:
            _check_type_queues(request.type_queues, request)
        return request

    def check(self, text: bytes) -> None:
        """Raise Malformed if a body is empty or nested too deeply."""
        if not text or text.isspace():
            raise Malformed("The body is empty. Send a JSON object.")
        check_text(text, self._depth, AROUND)

    def _check_result(self, item: CompleteItem) -> None:
        """Check a result and put it on one line. Raises TooLarge, Malformed or Invalid."""
        if item.result is NULL:
            return
        text = bytes(item.result)
        if len(text) > self._result_limit:
            detail = f"has {len(text)} bytes; send at most {self._result_limit}"
            message = f"The result has {len(text)} bytes. Send at most {self._result_limit}."
            raise TooLarge(message, [Fault("/result", detail)])
        if is_deeper(text, self._depth):
            raise Malformed(f"The result is nested deeper than the {self._depth} levels that are allowed.")
        check_payload(text, "result")
        if b"\n" in text or b"\r" in text:  # only between values, since strings escape them
            item.result = Raw(text.replace(b"\r", b" ").replace(b"\n", b" "))


def _check_room(room: Sequence[LeaseRoom], request: LeaseRequest) -> None:
    """Check the room of a request, and list each type once. Raises Invalid."""
    seen: set[str] = set()
    for place, entry in enumerate(room):
        entry.types = list(dict.fromkeys(entry.types))
        if twice := next((name for name in entry.types if name in seen), None):
            raise invalid(f"/room/{place}/types", f"has {twice!r}, which another entry has too; name each type once")
        seen.update(entry.types)
    if (count := len(seen.union(request.types or ()))) > MAX_LEASE_TYPES:
        raise invalid("/room", f"and types name {count} types; name at most {MAX_LEASE_TYPES}")


def _check_type_queues(type_queues: Mapping[str, Sequence[str]], request: LeaseRequest) -> None:
    """Check that it has queues and types of the request only, and each type once. Raises Invalid."""
    queues, types = set(request.queues), set(request.types or ())
    types.update(*(entry.types for entry in request.room or ()))
    for queue, named in type_queues.items():
        if queue not in queues:
            raise invalid("/type_queues", f"has the queue {queue!r}, which is not in queues")
        for name in named:
            if name not in types:
                raise invalid("/type_queues", f"has the type {name!r} twice, or it is neither in types nor in room")
            types.remove(name)


class _Reader(Generic[Item]):
    """Parses bodies of one kind: one item, or `{"jobs": [...]}`."""

    def __init__(
        self, item_type: type[Item], requests: LeaseRequests, check: Callable[[Item], None] | None = None
    ) -> None:
        self._decoder = msgspec.json.Decoder(item_type)
        self._form = _form(item_type)
        self._requests = requests
        self._check = check

    def read(self, text: bytes) -> Given[Item]:
        """Parse a body. Raises Malformed, Invalid or TooLarge; for a batch only if it cannot be split."""
        self._requests.check(text)
        if decode(_probe, text, _BATCH).jobs is msgspec.UNSET:
            return Given(True, [self._item(text)])
        raw = decode(_raw_batch, text, _BATCH).jobs
        if not raw:
            raise invalid("/jobs", f"must be {_BATCH.allowed['/jobs']}")
        if len(raw) > MAX_LEASED:
            raise TooLarge(f"The batch has {len(raw)} jobs. Send at most {MAX_LEASED}.")
        return Given(False, [self._item_or_error(item) for item in raw])

    def _item_or_error(self, raw: Raw) -> Item | QueueyError:
        try:
            return self._item(raw)
        except QueueyError as error:
            return error

    def _item(self, text: bytes | Raw) -> Item:
        item = decode(self._decoder, text, self._form)
        if self._check is not None:
            self._check(item)
        return item


Decoded = TypeVar("Decoded")

_probe: Final = msgspec.json.Decoder(_Probe)
_raw_batch: Final = msgspec.json.Decoder(_RawBatch)


def decode(decoder: msgspec.json.Decoder[Decoded], text: bytes | Raw, form: Form) -> Decoded:
    """Decode a body. Raises Malformed, or Invalid with the words of the form."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise explain(error, form) from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not JSON: {why_not_json(error, bytes(text))}.") from None


def _form(struct: type[Struct]) -> Form:
    return form_of(struct, _WHOLE, _WORDS)

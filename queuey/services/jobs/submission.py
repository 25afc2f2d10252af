"""Making jobs for the script `enqueue` from the texts of requests. It does no I/O; the time is an argument."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from queuey.errors import Fault, Invalid, Malformed, TooLarge
from queuey.protocol import ids
from queuey.protocol.idempotency import TTL_MS, IdempotencyKey
from queuey.protocol.json.checks import check_payload, check_text, decode
from queuey.protocol.json.payload_faults import PayloadFault, faults_of
from queuey.protocol.models import NULL, Definition, JobRequest, Priority
from queuey.protocol.records import DEFAULT_QUEUE, NewJob, encode_key, job_head
from queuey.protocol.schema_faults import ALLOWED, JOB, Check, invalid, together, with_all_faults
from queuey.services.batches.checks import NOT_WITH_BATCH, check_batch, check_item_fits, refuse_once
from queuey.services.jobs.labels import check_metadata, check_tags
from queuey.services.jobs.plain import Frame, Frames, Lane, PlainJobs, are_names
from queuey.services.jobs.type_queues import TypeQueues
from queuey.services.jobs.unique import KINDS, check_times_of_unique, check_unique, is_key, terms_of
from queuey.services.times import to_ms
from queuey.settings.settings import Settings
from queuey.settings.units import format_duration

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

Decoder = Callable[[bytes], object]

_requests: Final = msgspec.json.Decoder(JobRequest)
_encode = msgspec.json.Encoder().encode

_MARKED: Final = "\n"
"""Stands for a payload in a definition. The encoder writes no line breaks, so it is there once."""
_MARK: Final = msgspec.Raw(_MARKED.encode())


class SubmissionSettings(Struct, frozen=True):
    """The settings of new jobs, in seconds and bytes."""

    check_payloads: str
    json_depth: int
    payload_limit: int
    max_attempts: int
    max_delay: float
    retention: float
    dedupe_ttl: float

    @classmethod
    def of(cls, settings: Settings) -> SubmissionSettings:
        """Return them, taken from the settings of a server."""
        return cls(
            check_payloads=settings.check_payloads,
            json_depth=settings.json_depth,
            payload_limit=settings.payload_limit,
            max_attempts=settings.max_attempts,
            max_delay=settings.max_delay,
            retention=settings.retention,
            dedupe_ttl=settings.dedupe_ttl,
        )


class Limits(NamedTuple):
    """The maximum size of a payload in bytes, and its maximum nesting."""

    payload: int
    depth: int


class Submission:
    """Reads requests, checks them, and fills in defaults.

    `max_attempts_of` returns the maximum of the handler of a type, or None. `decoder_of` returns a decoder for the
    payloads of a type, or None. The decoder raises msgspec.ValidationError for a payload that does not fit; it is used
    if the setting `check_payloads` is `yes`. `queues` has the queues of the types, for jobs that name none.
    """

    def __init__(
        self,
        settings: SubmissionSettings,
        max_attempts_of: Callable[[str], int | None],
        decoder_of: Callable[[str], Decoder | None] | None = None,
        queues: TypeQueues | None = None,
    ) -> None:
        self.queues = queues or TypeQueues()
        self._max_attempts_of = max_attempts_of
        self._decoder_of = decoder_of if settings.check_payloads == "yes" else None
        self._depth = settings.json_depth
        self._payload_limit = settings.payload_limit
        self._max_attempts = settings.max_attempts
        self.max_delay = settings.max_delay
        self._max_delay = format_duration(settings.max_delay)
        self._max_delay_ms = to_ms(settings.max_delay)
        self._retention_ms = to_ms(settings.retention)
        self._dedupe_ttl_ms = to_ms(settings.dedupe_ttl)
        self._frames = Frames(self._new_frame)
        self.plain = PlainJobs(
            depth=self._depth,
            payload_limit=self._payload_limit,
            dedupe_ttl_ms=self._dedupe_ttl_ms,
            frames=self._frames,
            queues=self.queues.plain,
            attempts_of=self._attempts_of,
            check_fit=self.check_fit if self._decoder_of else None,
        )

    def parse(self, text: bytes) -> JobRequest:
        """Read one job from JSON. Raises Malformed, Invalid, or TooLarge because of the payload."""
        if not text or text.isspace():
            raise Malformed("The body is empty. Send a job as a JSON object.")
        check_text(text, self._depth, around=1)
        request = decode(_requests, text, JOB)
        payload = bytes(request.payload)
        self.check_size(payload)
        check_payload(payload)
        self._check_fits(request)
        return request

    def check_size(self, payload: bytes) -> None:
        """Check the size of a payload. Raises TooLarge."""
        if len(payload) > self._payload_limit:
            detail = f"has {len(payload)} bytes; send at most {self._payload_limit}"
            message = f"The payload has {len(payload)} bytes. Send at most {self._payload_limit}."
            raise TooLarge(message, [Fault("/payload", detail)])

    def check_fit(self, job_type: str, payload: bytes, pointer: str = "") -> None:
        """Check that a payload fits its type, if the settings ask for it. `pointer`: the payload's place in the body.

        Raises Invalid, which names the place that does not fit.
        """
        if self._decoder_of is None or (decode := self._decoder_of(job_type)) is None:
            return
        try:
            decode(payload)
        except msgspec.ValidationError as error:
            raise together([_misfit(job_type, pointer, fault) for fault in faults_of(error)]) from None
        except Exception:
            # A validator of the handler's own failed. The job fails with its traceback, as without this check.
            return

    def with_all_faults(self, first: Invalid, text: bytes, now_ms: int, *, is_once: bool = False) -> Invalid:
        """Return the error of a request with its other faults too. `is_once`: it has an Idempotency-Key."""
        return with_all_faults(first, text, JOB, *self.checks(now_ms, is_once=is_once))

    def checks(self, now_ms: int, *, is_once: bool = False) -> tuple[Check, ...]:
        """Return the checks of a job that the schema cannot make, but for the size of its payload."""

        def check_times(request: JobRequest) -> None:
            delay_ms, run_at_ms = self._due(request, now_ms)
            _expires(request, max(delay_ms, run_at_ms - now_ms))

        def check_times_of_key(request: JobRequest) -> None:
            delay_ms, run_at_ms = self._due(request, now_ms)
            check_times_of_unique(request, max(delay_ms, run_at_ms - now_ms))

        return (
            Check(lambda request: self._due(request, now_ms), ("delay", "run_at")),
            Check(check_times, ("delay", "run_at", "expires_in")),
            Check(_check_key, ("dedupe_key",)),
            Check(check_unique, ("dedupe_key", "dedupe_ttl", *KINDS)),
            Check(check_times_of_key, ("delay", "run_at", "expires_in", *KINDS)),
            Check(check_tags, ("tags",)),
            Check(check_metadata, ("metadata",)),
            Check(_check_id, ("id",)),
            Check(_refuse_ids if is_once else _job_id, ("id", "dedupe_key", *KINDS)),
            Check(lambda request: check_payload(bytes(request.payload)), ("payload",)),
            Check(self._check_fits, ("type", "payload", "batch")),
            Check(lambda request: check_batch(request, self.max_delay), ("batch", *NOT_WITH_BATCH, "expires_in")),
            *((Check(refuse_once, ("batch",)),) if is_once else ()),
        )

    def _check_fits(self, request: JobRequest) -> None:
        payload = bytes(request.payload)
        if request.batch is None:
            self.check_fit(request.type, payload, "/payload")
        elif decode := self.decoder_of(request.type):
            check_item_fits(request.type, payload, decode)

    def address(self, request: JobRequest) -> tuple[str, str | None]:
        """Give a request that names no queue the queue of its type. Return its queue, and a warning or None."""
        request.queue, warning = self.queue_of(request)
        return request.queue, warning

    def queue_of(self, request: JobRequest) -> tuple[str, str | None]:
        """Return the queue of a request, or else that of its type now, and a warning or None."""
        return (request.queue, None) if request.queue is not None else self.queues.of(request.type)

    def new_job(self, request: JobRequest, now_ms: int, once: IdempotencyKey | None = None) -> NewJob:
        """Return the job to enqueue. `now_ms`: the time from which `run_at` is counted. Raises Invalid."""
        delay_ms, run_at_ms = self._due(request, now_ms)
        unique = terms_of(request, max(delay_ms, run_at_ms - now_ms), self._dedupe_ttl_ms)
        job_id = _job_id(request) if once is None else _id_of_once(request, once)
        queue, priority = request.queue or DEFAULT_QUEUE, request.priority
        dedupe = encode_key(request.dedupe_key) if request.dedupe_key is not None else ""
        dedupe_ttl_ms = self._dedupe_ttl_ms if request.dedupe_ttl is None else to_ms(request.dedupe_ttl)
        if unique is not None:
            dedupe, dedupe_ttl_ms = unique.key, unique.ttl_ms
            delay_ms = unique.on_conflict.wait_ms or delay_ms
        head = job_head(
            queue=queue,
            priority=priority,
            max_attempts=self._attempts(request),
            retention_ms=self._retention_ms if request.retention is None else to_ms(request.retention),
            dedupe=dedupe,
            dedupe_ttl_ms=dedupe_ttl_ms,
            expires_ms=_expires(request, max(delay_ms, run_at_ms - now_ms)),
            until=unique.until if unique is not None else "",
        )
        body = _encode(_definition(request)).decode()
        if once is not None:
            dedupe, dedupe_ttl_ms = once.key, TTL_MS
        return NewJob(
            id=job_id,
            queue=queue,
            priority=priority,
            head=head,
            body=body,
            delay_ms=delay_ms,
            run_at_ms=run_at_ms,
            dedupe=dedupe,
            dedupe_ttl_ms=dedupe_ttl_ms,
            unique=unique.on_conflict if unique is not None else None,
        )

    def frame(self, job_type: str, queue: str, priority: Priority, traceparent: str | None) -> Frame | None:
        """Return what `new_job` makes of every request that has these fields, a payload and perhaps an id, only.

        None: the type or the queue is not a valid name.
        """
        if traceparent is None:
            return self._frames[job_type, queue, priority, self._attempts_of(job_type)]
        return self._new_frame(job_type, queue, priority, traceparent) if are_names(job_type, queue) else None

    def _new_frame(self, job_type: str, queue: str, priority: Priority, traceparent: str | None = None) -> Frame:
        bare = JobRequest(job_type, queue=queue, priority=priority, traceparent=traceparent)
        made = self.new_job(bare, 0)
        definition = Definition(job_type, payload=_MARK, traceparent=traceparent)
        before, _, after = _encode(definition).decode().partition(_MARKED)
        return Frame(Lane(queue, priority, made.head), before, after, made.body)

    def decoder_of(self, job_type: str) -> Decoder | None:
        """Return the decoder of the type's payloads, if the settings ask for it."""
        return None if self._decoder_of is None else self._decoder_of(job_type)

    @property
    def limits(self) -> Limits:
        """The limits of a payload."""
        return Limits(self._payload_limit, self._depth)

    def _attempts(self, request: JobRequest) -> int:
        return self._attempts_of(request.type) if request.max_attempts is None else request.max_attempts

    def _attempts_of(self, job_type: str) -> int:
        return self._max_attempts_of(job_type) or self._max_attempts

    def _due(self, request: JobRequest, now_ms: int) -> tuple[int, int]:
        """Return the delay and the time at which the job is due, in ms; 0 = none."""
        if request.delay is None and request.run_at is None:
            return 0, 0
        if request.delay is not None and request.run_at is not None:
            detail = "cannot be given together; leave one out"
            raise Invalid(f"delay and run_at {detail}.", [Fault("/delay", detail), Fault("/run_at", detail)])
        if request.run_at is not None:
            run_at_ms = since_epoch_ms(request.run_at)
            if run_at_ms - now_ms > self._max_delay_ms:
                raise invalid("/run_at", f"must be within {self._max_delay} from now (max_delay)")
            return 0, max(run_at_ms, 0)
        delay_ms = to_ms(request.delay or 0)
        if delay_ms > self._max_delay_ms:
            raise invalid("/delay", f"must be at most {self._max_delay} (max_delay)")
        return delay_ms, 0


def _misfit(job_type: str, pointer: str, fault: PayloadFault) -> Invalid:
    reason = f"{fault.reason[:1].lower()}{fault.reason[1:]}"
    return invalid(pointer + fault.pointer, f"does not fit jobs of the type {job_type}: {reason}", "The payload")


def _expires(request: JobRequest, due_in_ms: int) -> int:
    """Return the ms within which the job must be started; 0 = at any time."""
    if request.expires_in is None:
        return 0
    expires_ms = max(1, to_ms(request.expires_in))
    if due_in_ms and expires_ms <= due_in_ms:
        raise invalid("/expires_in", "must be longer than the time until the job is due (delay or run_at)")
    return expires_ms


def since_epoch_ms(time: datetime) -> int:
    """Return the milliseconds from 1970 to a time, rounded up."""
    return -((_EPOCH - time) // _MILLISECOND)


def _definition(request: JobRequest) -> Definition:
    """Return the JSON part of the job that is stored. Raises Invalid."""
    return Definition(
        type=request.type,
        payload=_kept(request.payload),
        timeout=request.timeout,
        backoff=request.backoff,
        traceparent=request.traceparent,
        tags=check_tags(request),
        metadata=check_metadata(request),
    )


def _kept(payload: msgspec.Raw) -> msgspec.Raw:
    """Return the payload to store. `null` is the default, which the encoder leaves out if it is the object NULL."""
    return NULL if bytes(payload) == b"null" else payload


def _job_id(request: JobRequest) -> str:
    key = request.bucket_key
    _check_key(request)
    check_unique(request)
    if request.id is None:
        return ids.new_id(key)
    _check_id(request)
    if key is not None and ids.bucket_of(request.id) != ids.bucket_of_key(key):
        raise invalid(
            "/id", "must begin with the bucket of its dedupe_key or unique key, crc32(key) % 1024; or leave the id out"
        )
    return request.id


def _id_of_once(request: JobRequest, once: IdempotencyKey) -> str:
    _refuse_ids(request)
    return once.new_id()


def _refuse_ids(request: JobRequest) -> None:
    given = [field for field in ("dedupe_key", "id", *KINDS) if getattr(request, field) is not None]
    if given:
        detail = "cannot be given together with the header Idempotency-Key; leave one out"
        raise Invalid(f"{given[0]} {detail}.", [Fault(f"/{field}", detail) for field in given])


def _check_id(request: JobRequest) -> None:
    if request.id is not None and not ids.is_id(request.id):
        raise invalid("/id", f"must be {ALLOWED['/id']}")


def _check_key(request: JobRequest) -> None:
    if request.dedupe_key is not None and not is_key(request.dedupe_key):
        raise invalid("/dedupe_key", f"must be {ALLOWED['/dedupe_key']}")

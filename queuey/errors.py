"""Every error that Queuey raises, in one tree.

    QueueyError                     code, HTTP status, a message that says what to change
    ├── RequestError                the caller can correct it
    │   ├── Malformed               400  not JSON, not UTF-8, nested too deep
    │   ├── Unauthorized            401  no valid key
    │   ├── Forbidden               403  a valid key without the scope
    │   ├── ForeignOrigin           403  a page of another site, without a key of its own
    │   ├── NotFound                404  no such job, queue, worker or route
    │   ├── MethodNotAllowed        405
    │   ├── RequestTimeout          408  the client took too long to send it
    │   ├── WrongState              409  the job is in a state that does not allow it
    │   ├── LostLease               409  the token is no longer valid
    │   ├── Conflict                409  another request changed the same thing at the same time
    │   ├── UpgradeInProgress       409  older replicas run beside this one
    │   ├── PreconditionFailed      412  If-Match or If-None-Match does not hold, or an owner
    │   ├── TooLarge                413
    │   ├── UnsupportedMedia        415
    │   ├── WrongHost               421  a host name that is not this machine's, on a server without keys
    │   ├── Invalid                 422  the schema refuses it; names each field
    │   ├── IdempotencyMismatch     422  the Idempotency-Key was used with another body
    │   ├── Full                    429  the store has no room; try again later
    │   ├── TooManyLogins           429  too many logins with wrong keys at a time
    │   └── HeadTooLarge            431  its first line and headers are too many or too long
    ├── TooManyConnections          503  every connection of this server is busy
    ├── StoreError                  the store cannot answer
    │   ├── StoreUnavailable        503  nothing was changed, or a resend is safe
    │   ├── OutcomeUnknown          503  it may have been done; has the job ids
    │   └── ScriptFailed            500  a script failed in the store
    └── StartupError                no HTTP status: the command exits with `exit_code`
        ├── SettingsError           a flag, variable or file of settings
        └── FileRefused             a file cannot be read or written

`code` is stable: it is the last part of a problem's `type`, and clients may switch on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """A fault in the body of a request. `pointer` is a JSON pointer (RFC 6901)."""

    pointer: str
    detail: str


class ParameterFault(msgspec.Struct, frozen=True):
    """A fault in a query parameter or a header."""

    parameter: str
    detail: str


class QueueyError(Exception):
    """The root of the tree. `message` is for people and says what to change."""

    code: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(QueueyError):
    """The caller can correct the request. `faults` name the fields or parameters."""

    code = "bad-request"
    status = 400
    title = "Bad request"

    def __init__(self, message: str, faults: Sequence[Fault | ParameterFault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class Malformed(RequestError):
    """The request is not JSON, not UTF-8, or nested too deep."""

    code = "malformed"
    title = "The request is malformed"


class Unauthorized(RequestError):
    """The API key is missing or unknown, or the session has ended. `cookie`: the Set-Cookie header that deletes it."""

    code = "unauthorized"
    status = 401
    title = "No valid API key"

    def __init__(self, message: str, *, cookie: str | None = None) -> None:
        super().__init__(message)
        self.cookie = cookie


class Forbidden(RequestError):
    """The API key lacks the scope."""

    code = "forbidden"
    status = 403
    title = "The API key lacks the scope"


class ForeignOrigin(RequestError):
    """The request comes from a page of another site, and has no API key of its own."""

    code = "foreign-origin"
    status = 403
    title = "A page of another site may not change anything"


class NotFound(RequestError):
    """The job, queue, worker or route does not exist, or the key may not see it."""

    code = "not-found"
    status = 404
    title = "Not found"


class MethodNotAllowed(RequestError):
    """The path does not have this method. `allowed` lists its methods."""

    code = "method-not-allowed"
    status = 405
    title = "Method not allowed"

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)


class RequestTimeout(RequestError):
    """The client took too long to send the request."""

    code = "request-timeout"
    status = 408
    title = "The request took too long to arrive"


class WrongState(RequestError):
    """The state of the job does not allow the change."""

    code = "wrong-state"
    status = 409
    title = "The job's state does not allow this"


class LostLease(RequestError):
    """The token is not that of the job's current lease."""

    code = "lost-lease"
    status = 409
    title = "The lease is lost"


class Conflict(RequestError):
    """Other requests changed the same thing at the same time, each time that this one was tried."""

    code = "conflict"
    status = 409
    title = "Other requests change the same thing"


class KeyHeld(RequestError):
    """Another job holds the unique key, and the request wants to be rejected then. `job_ids` has that job."""

    code = "key-held"
    status = 409
    title = "Another job holds the unique key"

    def __init__(self, message: str, job_ids: Sequence[str]) -> None:
        super().__init__(message)
        self.job_ids = tuple(job_ids)


class UpgradeInProgress(RequestError):
    """Replicas of an older version, which do not know what the request would store, run beside this one."""

    code = "upgrade-in-progress"
    status = 409
    title = "An upgrade is in progress"


class PreconditionFailed(RequestError):
    """The header If-Match or If-None-Match does not hold, or the parameter `app`: a schedule has another owner."""

    code = "precondition-failed"
    status = 412
    title = "The precondition does not hold"


class TooLarge(RequestError):
    """The body is larger than the limit."""

    code = "too-large"
    status = 413
    title = "The request is too large"


class UnsupportedMedia(RequestError):
    """The content type or the encoding of the body is not supported. `is_encoding`: it is the encoding."""

    code = "unsupported-media-type"
    status = 415
    title = "Unsupported media type"

    def __init__(self, message: str, *, is_encoding: bool = False) -> None:
        super().__init__(message)
        self.is_encoding = is_encoding


class WrongHost(RequestError):
    """The host name is not that of this machine, and the server has no keys."""

    code = "wrong-host"
    status = 421
    title = "The request is for another host"


class Invalid(RequestError):
    """The schema refuses the request."""

    code = "invalid"
    status = 422
    title = "The request does not fit the schema"


class IdempotencyMismatch(RequestError):
    """The Idempotency-Key was used with another body."""

    code = "idempotency-mismatch"
    status = 422
    title = "The Idempotency-Key was used with another body"


class Full(RequestError):
    """The store is above its memory limit for new jobs. `retry_after` is in seconds."""

    code = "full"
    status = 429
    title = "The store is full"

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyLogins(RequestError):
    """Other logins with wrong keys are being refused. `retry_after` is in seconds."""

    code = "too-many-logins"
    status = 429
    title = "Too many logins at a time"
    retry_after = 1


class HeadTooLarge(RequestError):
    """The request line and the headers are too long, or the headers too many."""

    code = "head-too-large"
    status = 431
    title = "The headers are too large"


class TooManyConnections(QueueyError):
    """Every connection of the server is busy. `retry_after` is in seconds."""

    code = "too-many-connections"
    status = 503
    title = "The server has too many connections"
    retry_after = 1


class StoreError(QueueyError):
    """The store cannot answer. `retry_after` is in seconds."""

    code = "store-error"
    status = 503
    title = "The store cannot answer"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreUnavailable(StoreError):
    """The store gave no usable answer. `maybe_done` means that the call may have run, and only its reply was lost.

    `shard` is the one that did not answer, if the store has several.
    """

    code = "store-unavailable"
    title = "The store is unavailable"

    def __init__(
        self, message: str, retry_after: int = 1, *, maybe_done: bool = False, shard: int | None = None
    ) -> None:
        super().__init__(message, retry_after)
        self.maybe_done = maybe_done
        self.shard = shard


class OutcomeUnknown(StoreError):
    """The store did not answer in time, so the change may have been made. A resend with the same ids is safe."""

    code = "outcome-unknown"
    title = "The outcome is unknown"

    def __init__(self, message: str, job_ids: Sequence[str] = (), retry_after: int = 1) -> None:
        super().__init__(message, retry_after)
        self.job_ids = tuple(job_ids)


class ScriptFailed(StoreError):
    """A script failed in a way that repeats: sending the call again gives the same error."""

    code = "script-failed"
    status = 500
    title = "A script failed in the store"


class StartupError(QueueyError):
    """The process cannot start. The message says what to change; `exit_code` is the exit code of the process.

    `trace` is the traceback of an error in the user's own code; None if there was none.
    """

    code = "startup"
    title = "Queuey cannot start"
    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, trace: str | None = None) -> None:
        super().__init__(message)
        self.trace = trace


class AppNotFound(StartupError):
    """The setting `app` names no App. Only another value helps."""

    code = "app-not-found"
    title = "There is no such App"


class CannotRunHere(StartupError):
    """This replica must not run on this store. No later attempt would succeed."""

    code = "cannot-run-here"
    title = "This replica cannot run on the store"


class OtherShards(CannotRunHere):
    """The store holds its jobs in another number of shards."""

    code = "other-shards"
    title = "The store has another number of shards"


class TooOld(CannotRunHere):
    """The store holds data that this version does not know. It must not run on it."""

    code = "too-old"
    title = "This version is too old for the store"


class SettingsError(StartupError):
    """A flag, a variable or a settings file has an invalid value."""

    code = "settings"
    title = "A setting is not valid"
    exit_code = 2


class FileRefused(StartupError):
    """A file cannot be read or written. The message names it and says what to do."""

    code = "file"
    title = "A file cannot be used"
    exit_code = 1

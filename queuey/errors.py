"""Every error that Queuey raises, in one tree.

    QueueyError                     code, HTTP status, a message that says what to change
    ├── RequestError                the caller can mend it
    │   ├── Malformed               400  not JSON, not UTF-8, nested too deep
    │   ├── Unauthorized            401  no valid key
    │   ├── Forbidden               403  a valid key, without the scope
    │   ├── ForeignOrigin           403  a page of another site, on a server without keys
    │   ├── NotFound                404  no such job or route
    │   ├── MethodNotAllowed        405
    │   ├── RequestTimeout          408  the client took too long to send it
    │   ├── WrongState              409  the job is in a state that does not allow it
    │   ├── LostLease               409  the token is no longer the job's
    │   ├── TooLarge                413
    │   ├── UnsupportedMedia        415
    │   ├── WrongHost               421  a host name that is not this machine's, on a server without keys
    │   ├── Invalid                 422  does not fit the schema; names each field
    │   ├── IdempotencyMismatch     422  an Idempotency-Key came with another body before
    │   ├── Full                    429  the store has no room; try again later
    │   └── HeadTooLarge            431  its first line and headers are too many or too long
    ├── TooManyConnections          503  every connection of this server is busy
    ├── StoreError                  the store cannot answer
    │   ├── StoreUnavailable        503  nothing was changed, or a resend is safe
    │   ├── OutcomeUnknown          503  it may have been done; carries the job ids
    │   └── ScriptFailed            500  a script failed for a reason of its own
    └── StartupError                no HTTP status: the command ends with `exit_code`
        ├── SettingsError           a flag, variable or file of settings
        └── FileRefused             a file that was given cannot be read, or written

`code` is stable: it is the last part of a problem's `type`, and clients may switch on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with a request: where, as a JSON pointer into the body (RFC 6901), and what."""

    pointer: str
    detail: str


class ParameterFault(msgspec.Struct, frozen=True):
    """One thing wrong with a parameter behind the path's question mark."""

    parameter: str
    detail: str


class QueueyError(Exception):
    """Root of the tree. `message` is for people and says what to change."""

    code: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(QueueyError):
    """The caller can mend it. `faults` name the fields or parameters."""

    code = "bad-request"
    status = 400
    title = "Bad request"

    def __init__(self, message: str, faults: Sequence[Fault | ParameterFault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class Malformed(RequestError):
    code = "malformed"
    title = "The request is malformed"


class Unauthorized(RequestError):
    code = "unauthorized"
    status = 401
    title = "No valid API key"


class Forbidden(RequestError):
    code = "forbidden"
    status = 403
    title = "The API key lacks the scope"


class ForeignOrigin(RequestError):
    code = "foreign-origin"
    status = 403
    title = "A page of another site may not change anything"


class NotFound(RequestError):
    code = "not-found"
    status = 404
    title = "Not found"


class MethodNotAllowed(RequestError):
    """`allowed`: the methods that the path knows."""

    code = "method-not-allowed"
    status = 405
    title = "Method not allowed"

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)


class RequestTimeout(RequestError):
    code = "request-timeout"
    status = 408
    title = "The request took too long to come"


class WrongState(RequestError):
    code = "wrong-state"
    status = 409
    title = "The job's state does not allow this"


class LostLease(RequestError):
    code = "lost-lease"
    status = 409
    title = "The lease is lost"


class TooLarge(RequestError):
    code = "too-large"
    status = 413
    title = "The request is too large"


class UnsupportedMedia(RequestError):
    code = "unsupported-media-type"
    status = 415
    title = "Unsupported media type"


class WrongHost(RequestError):
    code = "wrong-host"
    status = 421
    title = "The request is for another host"


class Invalid(RequestError):
    code = "invalid"
    status = 422
    title = "The request does not fit the schema"


class IdempotencyMismatch(RequestError):
    code = "idempotency-mismatch"
    status = 422
    title = "The Idempotency-Key came with another body"


class Full(RequestError):
    """The store is above its memory limit for new jobs. `retry_after` is in seconds."""

    code = "full"
    status = 429
    title = "The store is full"

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class HeadTooLarge(RequestError):
    code = "head-too-large"
    status = 431
    title = "The headers are too large"


class TooManyConnections(QueueyError):
    """`retry_after` is in seconds."""

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
    """No usable answer. `maybe_done`: the call may have run all the same, only its reply was lost."""

    code = "store-unavailable"
    title = "The store is unavailable"

    def __init__(self, message: str, retry_after: int = 1, *, maybe_done: bool = False) -> None:
        super().__init__(message, retry_after)
        self.maybe_done = maybe_done


class OutcomeUnknown(StoreError):
    """No reply came in time, so the call may have been done. Sending it again with the same ids is safe."""

    code = "outcome-unknown"
    title = "It is unknown whether the store did it"

    def __init__(self, message: str, job_ids: Sequence[str] = (), retry_after: int = 1) -> None:
        super().__init__(message, retry_after)
        self.job_ids = tuple(job_ids)


class ScriptFailed(StoreError):
    """A script failed deterministically: sending it again gives the same error."""

    code = "script-failed"
    status = 500
    title = "A script failed in the store"


class StartupError(QueueyError):
    """Start-up cannot go on. The message says what to change; `exit_code` is the process's."""

    code = "startup"
    title = "Queuey cannot start"
    exit_code: ClassVar[int] = 3


class SettingsError(StartupError):
    """A flag, variable or file holds something that cannot be used."""

    code = "settings"
    title = "A setting cannot be used"
    exit_code = 2


class FileRefused(StartupError):
    """A file that a command was given cannot be used. The message names it and says what to do."""

    code = "file"
    title = "A file cannot be used"
    exit_code = 1

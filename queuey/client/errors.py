"""The errors of the client.

ClientError                 `message` is for people; `status` is that of the answer, None without one
├── Closed                  the client was closed; also a RuntimeError
├── Unreachable             no answer came; `maybe_done`: the server may have done it
├── BadAnswer               the answer is not from Queuey: another program is at this address
├── JobFailed               a job whose result was wanted is dead or cancelled: `job`
├── NotFinished             such a job has not finished in time: `job`; also a TimeoutError
└── Refused                 a problem, with its `code` (docs/errors.md), `problem` and `retry_after`
    ├── Unauthorized        401  no valid key
    ├── Forbidden           403  the key lacks the scope
    ├── NotFound            404
    ├── WrongState          409  the job's state does not allow it
    ├── LostLease           409  another worker has the job now
    ├── Conflict            409, 412  other requests have changed the schedule
    ├── KeyHeld             409  another job holds the unique key; `problem.job_ids` has it
    ├── TooLarge            413
    ├── Invalid             400, 422  names each field in `problem.errors`
    ├── Full                429  no room
    └── Unavailable         503  the store or the server cannot answer now; `code` outcome-unknown: maybe done
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from queuey.protocol.models import FINAL, Job, Problem

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors of msgspec for a text that is not the expected JSON."""
PREFIX: Final = "urn:queuey:problem:"


class ClientError(Exception):
    """The root of the tree."""

    status: int | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Callable[..., ClientError], tuple[object, ...]]:
        """Let every error of the tree be pickled, whatever its constructor takes: a process pool ends if one cannot."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[ClientError], args: tuple[object, ...], fields: Mapping[str, object]) -> ClientError:
    error = kind.__new__(kind, *args)
    error.args = args  # an OSError keeps them in its constructor only
    error.__dict__.update(fields)
    return error


class Closed(ClientError, RuntimeError):
    """The client was closed, maybe while a call waited."""

    def __init__(self, message: str = "This client is closed. Create another one.") -> None:
        super().__init__(message)


class Unreachable(ClientError):
    """No answer came. `maybe_done` means that the request was sent, so the server may have done it."""

    def __init__(self, message: str, *, maybe_done: bool) -> None:
        super().__init__(message)
        self.maybe_done = maybe_done


class BadAnswer(ClientError):
    """The answer is not from a Queuey server."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class JobFailed(ClientError):
    """The job is dead or was cancelled, so it has no result. Its traceback is a note of this error."""

    def __init__(self, job: Job) -> None:
        reason = f": {job.last_error}" if job.last_error else ""
        super().__init__(f"The job {job.id} ({job.type}) has no result: it is {job.status}{reason}")
        self.job = job
        if job.status == "dead_letter" and job.errors and job.errors[-1].detail:
            self.add_note(job.errors[-1].detail)


class NotFinished(ClientError, TimeoutError):
    """The job has not finished in time. It goes on: wait for its id again, or cancel it."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            f"The job {job.id} ({job.type}) has not finished in time: it is {job.status}. It goes on: wait for it, or "
            "cancel it"
        )
        self.job = job


def result_of(job: Job) -> msgspec.Raw:
    """Return the result of a job that was waited for. Raises JobFailed or NotFinished."""
    if job.status == "succeeded":
        return job.result
    raise JobFailed(job) if job.status in FINAL else NotFinished(job)


class Refused(ClientError):
    """The server answered with a problem. `retry_after` is in seconds, None if the answer has none."""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.status = problem.status
        self.code = problem.type.removeprefix(PREFIX)
        self.retry_after = retry_after


class Unauthorized(Refused):
    """The API key is missing or unknown."""


class Forbidden(Refused):
    """The API key lacks the scope."""


class NotFound(Refused):
    """The job, queue or worker does not exist, or the key may not see it."""


class WrongState(Refused):
    """The state of the job does not allow the call."""


class LostLease(Refused):
    """Another worker has the job now, or it has finished."""


class Conflict(Refused):
    """Other requests have changed the schedule meanwhile, or one that should be new is there already."""


class KeyHeld(Refused):
    """Another job holds the unique key. `problem.job_ids` has that job."""


class TooLarge(Refused):
    """The request is larger than the server allows."""


class Invalid(Refused):
    """The request is not valid. `problem.errors` names each field."""


class Full(Refused):
    """The server has no room now."""


class Unavailable(Refused):
    """The store or the server cannot answer now."""


_BY_CODE: Final[dict[str, type[Refused]]] = {
    "wrong-state": WrongState,
    "lost-lease": LostLease,
    "conflict": Conflict,
    "precondition-failed": Conflict,
    "key-held": KeyHeld,
}
_BY_STATUS: Final[dict[int, type[Refused]]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    413: TooLarge,
    422: Invalid,
    429: Full,
    503: Unavailable,
}

_decode = msgspec.json.Decoder(Problem).decode


def refusal(problem: Problem, retry_after: float | None = None) -> Refused:
    """Return the error for a problem, also for that of a batch item. An unknown code is classified by its status."""
    code = problem.type.removeprefix(PREFIX)
    kind = _BY_CODE.get(code) or _BY_STATUS.get(problem.status, Refused)
    return kind(problem, retry_after)


def read_problem(body: bytes) -> Problem | None:
    """Return the body of an answer as a problem, or None if it is not one of Queuey's."""
    try:
        problem = _decode(body)
    except UNREADABLE:
        return None
    return problem if problem.type.startswith(PREFIX) else None

"""What a call of the client raises.

ClientError                 `message` is for people; `status` is the answer's, None without one
├── Unreachable             no answer came; `maybe_done`: the server may have done it all the same
├── BadAnswer               an answer that no Queuey server gives: another program is at this address
└── Refused                 a problem, with its `code` (docs/errors.md), `problem` and `retry_after`
    ├── Unauthorized        401  no valid key
    ├── Forbidden           403  the key lacks the scope
    ├── NotFound            404
    ├── WrongState          409  the job's state does not allow it
    ├── LostLease           409  the job is another worker's by now
    ├── TooLarge            413
    ├── Invalid             400, 422  names each field in `problem.errors`
    ├── Full                429  no room
    └── Unavailable         503  the store or the server cannot answer now; `code` outcome-unknown: maybe done
"""

from __future__ import annotations

from typing import Final

import msgspec

from queuey.protocol.models import Problem

PREFIX: Final = "urn:queuey:problem:"


class ClientError(Exception):
    """Root of the tree."""

    status: int | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unreachable(ClientError):
    """No answer. `maybe_done`: the request had been sent, so the server may have done what it asks for."""

    def __init__(self, message: str, *, maybe_done: bool) -> None:
        super().__init__(message)
        self.maybe_done = maybe_done


class BadAnswer(ClientError):
    """An answer that no Queuey server gives."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Refused(ClientError):
    """The server answered with a problem. `retry_after`: seconds, None where it names none."""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.status = problem.status
        self.code = problem.type.removeprefix(PREFIX)
        self.retry_after = retry_after


class Unauthorized(Refused): ...


class Forbidden(Refused): ...


class NotFound(Refused): ...


class WrongState(Refused): ...


class LostLease(Refused): ...


class TooLarge(Refused): ...


class Invalid(Refused): ...


class Full(Refused): ...


class Unavailable(Refused): ...


_BY_CODE: Final[dict[str, type[Refused]]] = {"wrong-state": WrongState, "lost-lease": LostLease}
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
    """The error for a problem, of a batch's item too. A code that is newer than this client goes by its status."""
    code = problem.type.removeprefix(PREFIX)
    kind = _BY_CODE.get(code) or _BY_STATUS.get(problem.status, Refused)
    return kind(problem, retry_after)


def read_problem(body: bytes) -> Problem | None:
    """The body of an answer as a problem of ours; None when it is none."""
    try:
        problem = _decode(body)
    except msgspec.DecodeError:
        return None
    return problem if problem.type.startswith(PREFIX) else None

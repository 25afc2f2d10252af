"""Errors as `application/problem+json` (RFC 9457). docs/errors.md lists every code."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET
from starlette.responses import Response
from starlette.types import Scope

from queuey import log
from queuey.errors import (
    Full,
    KeyHeld,
    MethodNotAllowed,
    OutcomeUnknown,
    QueueyError,
    RequestError,
    StoreError,
    StoreUnavailable,
    TooManyConnections,
    TooManyLogins,
    Unauthorized,
    UnsupportedMedia,
)
from queuey.protocol.models import Problem

TYPE_PREFIX: Final = "urn:queuey:problem:"
MEDIA_TYPE: Final = "application/problem+json"
INTERNAL: Final = "Something failed inside the server. Its log has the details."
STORE_DOWN: Final = "The store cannot answer at the moment. Nothing was changed. Try again."
SHARD_DOWN: Final = "Shard {} of the store cannot answer at the moment. Nothing was changed. Try again."
OUTCOME_UNKNOWN: Final = (
    "The store did not answer in time, so the request may have been carried out. Look up the jobs in job_ids, or send "
    "the request again with the same ids, which is safe."
)

_log = log.get(__name__)
_encode = msgspec.json.Encoder().encode


def problem(error: Exception) -> Problem:
    """Return the problem for an error. It reveals neither internal failures nor the address of the store."""
    if not isinstance(error, QueueyError):
        return Problem(TYPE_PREFIX + QueueyError.code, QueueyError.title, QueueyError.status, INTERNAL)
    faults = error.faults if isinstance(error, RequestError) else ()
    job_ids = error.job_ids if isinstance(error, (OutcomeUnknown, KeyHeld)) else ()
    return Problem(
        type=TYPE_PREFIX + error.code,
        title=error.title,
        status=error.status,
        detail=_detail(error),
        errors=[msgspec.structs.asdict(fault) for fault in faults] or UNSET,
        job_ids=list(job_ids) or UNSET,
    )


def _detail(error: QueueyError) -> str:
    if error.status == 500:
        return INTERNAL
    if isinstance(error, OutcomeUnknown):
        return OUTCOME_UNKNOWN if error.job_ids else error.message
    if isinstance(error, StoreUnavailable):
        return STORE_DOWN if error.shard is None else SHARD_DOWN.format(error.shard)
    return error.message


def problem_response(error: Exception, scope: Scope) -> Response:
    """Return the response to a request that failed. An internal error is logged with its traceback."""
    body = problem(error)
    if body.status == 500:
        _log.error("request_failed", method=scope["method"], path=scope["path"], exc_info=error)
    return Response(_encode(body), body.status, _headers(error), MEDIA_TYPE)


def _headers(error: Exception) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, (Full, StoreError, TooManyConnections, TooManyLogins)):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="queuey"'
        if error.cookie is not None:
            headers["Set-Cookie"] = error.cookie
    elif isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    elif isinstance(error, UnsupportedMedia) and error.is_encoding:
        headers["Accept-Encoding"] = "identity"
    return headers

"""Writing what operators do into the audit log, around the routes that need it: before the action, and after.

A route is audited if it needs the scope admin, changes something, and is not asked for a dry run; and so are the
changes of schedules, and what is done to all jobs that match. A request that its key may not make is refused before,
and leaves no entry: else anyone could fill the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from queuey.api.http.body import read_body, read_headers
from queuey.api.http.endpoints import Answer, Endpoint, Guarded
from queuey.api.http.problems import problem
from queuey.errors import OutcomeUnknown, StoreUnavailable
from queuey.protocol.credentials import Principal
from queuey.protocol.models import AuditOutcome
from queuey.services.access.audit import MAX_DETAIL, AuditLog, Record, with_filter

_ALSO: Final = frozenset(
    {
        *("PUT /v1/schedules/{name}", "DELETE /v1/schedules/{name}"),
        *(f"POST /v1/schedules/{{name}}/{verb}" for verb in ("pause", "resume", "trigger", "backfill")),
        *(f"POST /v1/jobs/{verb}" for verb in ("cancel", "retry", "delete")),
    }
)
"""Audited routes that need another scope than admin."""
_NAMES: Final = {"DELETE /ui/sessions": "session.logout_all", "POST /v1/replay-dlq": "dlq.replay"}
"""The actions whose names do not follow from their paths."""
_COUNTS: Final = ("done", "cancelled", "requeued", "fired")
"""The fields of answers that say how many jobs were changed."""
_MAX_ANSWER: Final = 65_536
"""The maximum number of bytes of an answer in which the number is looked for."""


def is_audited(endpoint: Endpoint) -> bool:
    """Return whether the calls of an endpoint are written into the audit log."""
    route = f"{endpoint.method} {endpoint.path}"
    return route in _ALSO or (endpoint.needs == "admin" and endpoint.method != "GET")


def action_of(endpoint: Endpoint) -> str:
    """Return the name of what an endpoint does, as `queues.pause` or `jobs.delete`."""
    route = f"{endpoint.method} {endpoint.path}"
    if route in _NAMES:
        return _NAMES[route]
    words = [word for word in endpoint.path.split("/")[2:] if not word.startswith("{")]
    return ".".join(words if len(words) > 1 else [*words, endpoint.method.lower()])


class Auditor:
    """Surrounds the answers of endpoints. `body_limit`: the maximum number of bytes of a body."""

    def __init__(self, audit: AuditLog, body_limit: int) -> None:
        self._audit = audit
        self._body_limit = body_limit

    def surround(self, endpoint: Guarded) -> None:
        """Let the endpoint write an entry for each call."""
        endpoint.answer = _Audited(endpoint, endpoint.answer, self._audit, self._body_limit).answer


class _Audited:
    def __init__(self, endpoint: Guarded, answer: Answer, audit: AuditLog, body_limit: int) -> None:
        self._action = action_of(endpoint)
        self._answer = answer
        self._audit = audit
        self._body_limit = body_limit
        self._has_body = endpoint.doc.body is not None
        # Another body is a payload or has one, which does not belong into a log.
        self._has_filter = endpoint.method == "POST" and endpoint.doc.body is not None

    async def answer(self, request: Request, caller: Principal) -> Response:
        given: Any = dict(request.query_params)
        if self._has_body:
            body = await read_body(read_headers(request.scope["headers"]), request.receive, self._body_limit)
            request = Request(request.scope, _again(body, request.receive))
            if self._has_filter:
                given = {**given, **_fields(body)}
        if given.get("dry_run") in (True, "true"):
            return await self._answer(request, caller)
        record = Record(caller.name, caller.via, self._action, _target(request))
        with_filter(record, given)
        begun = await self._audit.write(record)
        try:
            response = await self._answer(request, caller)
        except Exception as error:
            record.outcome, record.detail = _failure(error)
            await self._audit.write(record, begun)
            raise
        record.outcome, record.number = "done", _number(bytes(response.body))
        await self._audit.write(record, begun)
        return response


def _target(request: Request) -> str | None:
    """Return the id of the job, or the name of the queue, the schedule or the worker."""
    found = [str(value)[:128] for value in request.path_params.values()]
    return found[0] if found else None


def _fields(body: bytes) -> dict[str, Any]:
    """Return the fields of a body, or none if it is not an object. The endpoint itself says what is wrong with it."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any]) if body else {}
    except (msgspec.DecodeError, RecursionError):
        return {}


def _number(body: bytes) -> int | None:
    if not body or len(body) > _MAX_ANSWER:
        return None
    found = _fields(body)
    return next((found[name] for name in _COUNTS if type(found.get(name)) is int), None)


def _failure(error: Exception) -> tuple[AuditOutcome, str]:
    shown = problem(error)
    outcome: AuditOutcome = "refused" if shown.status < 500 else "failed"
    if isinstance(error, OutcomeUnknown) or (isinstance(error, StoreUnavailable) and error.maybe_done):
        outcome = "unknown"
    return outcome, (shown.detail or shown.title)[:MAX_DETAIL]


def _again(body: bytes, receive: Receive) -> Callable[[], Any]:
    """Return what an endpoint receives: the body that was read, and then what comes after it."""
    left = [body]

    async def next_message() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return next_message

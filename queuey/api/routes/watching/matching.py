"""The routes that cancel, retry and delete all jobs that match."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from queuey import log
from queuey.api.http.auth import require
from queuey.api.http.endpoints import reply
from queuey.api.http.json_body import JsonBody
from queuey.api.http.operations import Operation
from queuey.errors import Fault, Full, Invalid
from queuey.metrics import Metrics
from queuey.protocol.credentials import Principal
from queuey.protocol.models import CancelJobs, DeleteJobs, Matching, MatchReply, RetryJobs
from queuey.protocol.models.labels import TAG_RULE
from queuey.protocol.models.matching import MAX_IDS, MAX_SEARCHED
from queuey.services.jobs.listing import Wanted
from queuey.services.jobs.producer import Producer, no_room
from queuey.services.matching import actions
from queuey.services.matching.actions import Action, Asked, Matched
from queuey.store.broker.broker import Broker

_TIME: Final = "a date, a time with seconds, and a time zone"
_TEXT: Final = f"a text of 1 to {MAX_SEARCHED} characters"
_WORDS: Final = {
    "/ids": f"an array of 1 to {MAX_IDS} ids of jobs",
    "/ids/*": "the id of a job, which has 28 characters",
    "/tag": TAG_RULE,
    "/dedupe_key": "a text of 1 to 256 characters",
    "/q": _TEXT,
    "/error": _TEXT,
    "/cursor": "the value `next` of the answer before",
}
_TIMES: Final = {"/finished_after": _TIME, "/finished_before": _TIME}
_CANCEL_BODY: Final = JsonBody(CancelJobs, _WORDS)
_RETRY_BODY: Final = JsonBody(RetryJobs, _WORDS | _TIMES)
_DELETE_BODY: Final = JsonBody(DeleteJobs, _WORDS | _TIMES)
_NEEDS: Final = "must be true if there is neither a filter nor ids"
_OF_BODY: Final = {"ids", "all", "limit", "cursor", "dry_run"}
"""The fields of a body beside the filters."""
_log = log.get(__name__)

CANCEL_MATCHING: Final = Operation(
    "cancel_jobs",
    "Cancel the jobs that match, or those with these ids",
    {200: MatchReply},
    description="In the queues where the key has the scope submit. `dry_run` only counts.",
    body=CancelJobs,
    example={"queue": "mail", "type": "mail.send", "dry_run": True},
)
RETRY_MATCHING: Final = Operation(
    "retry_jobs",
    "Retry the dead jobs that match, or run scheduled jobs immediately",
    {200: MatchReply},
    description="In the queues where the key has the scope admin. `dry_run` only counts.",
    body=RetryJobs,
    example={"type": "mail.send", "error": "timed out", "limit": 500, "dry_run": True},
    errors=(Full,),
)
DELETE_MATCHING: Final = Operation(
    "delete_jobs",
    "Delete the finished jobs that match, or those with these ids",
    {200: MatchReply},
    description="In the queues where the key has the scope admin. `dry_run` only counts.",
    body=DeleteJobs,
    example={"status": "cancelled", "finished_before": "2026-11-01T00:00:00Z", "dry_run": True},
)


class MatchingRoutes:
    """Answers the routes. `request_deadline`: the seconds for each call to the store; `body_limit`: bytes."""

    def __init__(
        self, broker: Broker, producer: Producer, *, metrics: Metrics, request_deadline: float, body_limit: int
    ) -> None:
        self._broker = broker
        self._producer = producer
        self._metrics = metrics
        self._request_deadline = request_deadline
        self._body_limit = body_limit

    async def cancel(self, request: Request, caller: Principal) -> Response:
        """Cancel jobs."""
        answer = await self._act(actions.CANCEL, await _CANCEL_BODY.read(request, self._body_limit), caller)
        _log.info("jobs_cancelled", jobs=answer.done, dry_run=answer.dry_run, by=caller.name)
        return reply(answer)

    async def retry(self, request: Request, caller: Principal) -> Response:
        """Retry dead jobs, and run scheduled jobs immediately."""
        asked = await _RETRY_BODY.read(request, self._body_limit)
        if self._producer.full and not asked.dry_run and asked.status != "scheduled":
            raise no_room()
        answer = await self._act(actions.RETRY, asked, caller)
        _log.info("jobs_retried", jobs=answer.done, dry_run=answer.dry_run, by=caller.name)
        return reply(answer)

    async def delete(self, request: Request, caller: Principal) -> Response:
        """Delete finished jobs."""
        answer = await self._act(actions.DELETE, await _DELETE_BODY.read(request, self._body_limit), caller)
        _log.info("jobs_deleted", jobs=answer.done, dry_run=answer.dry_run, by=caller.name)
        return reply(answer)

    async def _act(self, action: Action, body: Matching, caller: Principal) -> MatchReply:
        asked = _asked(action, body)
        if body.queue is not UNSET:
            require(caller, action.scope, body.queue)
        matched = Matched(
            self._broker,
            action,
            asked,
            lambda queue: caller.allows(action.scope, queue),
            request_deadline=self._request_deadline,
            metrics=self._metrics,
        )
        return await matched.act()


def _asked(action: Action, body: Matching) -> Asked:
    """Return what a body asks for. Raises Invalid if that is all jobs, and the body does not say so."""
    names = [name for name in body.__struct_fields__ if name not in _OF_BODY]
    given = {name: value for name in names if (value := getattr(body, name)) is not UNSET}
    ids = None if body.ids is UNSET else body.ids
    if not given and ids is None and not body.all:
        raise Invalid(
            f"The body asks for all jobs. Give a filter or ids, or send all=true to {action.name} all of them.",
            [Fault("/all", _NEEDS)],
        )
    among = action.searched if ids is None else action.among
    wanted = Wanted(**given, among=UNSET if "status" in given else among)
    return Asked(wanted, ids, body.limit, None if body.cursor is UNSET else body.cursor, body.dry_run)

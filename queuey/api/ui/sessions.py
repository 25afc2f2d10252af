"""POST and DELETE /ui/session, and DELETE /ui/sessions: log in, log out, and log everyone out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from queuey import log
from queuey.api.http.auth import require
from queuey.api.http.body import read_headers
from queuey.api.http.json_body import JsonBody
from queuey.api.http.operations import Operation
from queuey.api.ui.cookies import cleared_cookie
from queuey.api.ui.visitors import Visitors, check_page
from queuey.errors import TooManyLogins, Unauthorized
from queuey.protocol.credentials import Principal
from queuey.protocol.models import Login
from queuey.services.access.audit import AuditLog, Record

WRONG_SECONDS: Final = 0.3
MOST_WRONG: Final = 5
"""The maximum number of logins that are judged at a time. One with a wrong key takes WRONG_SECONDS."""
_BODY: Final = JsonBody(Login, {"/key": "the API key, as text of 1 to 200 characters"})
_BODY_LIMIT: Final = 4096
_log = log.get(__name__)

_GROUP: Final = "Operation"
LOG_IN: Final = Operation(
    "begin_session", "Begin a session of the page", {204: None}, body=Login, errors=(), group=_GROUP, shown=False
)
LOG_OUT: Final = Operation("end_session", "End the session of the page", {204: None}, group=_GROUP, shown=False)
LOG_ALL_OUT: Final = Operation("end_sessions", "End all sessions of the page", {204: None}, group=_GROUP, shown=False)


class SessionRoutes:
    """Answers the routes of sessions. `pause` waits for some seconds."""

    def __init__(
        self, visitors: Visitors, audit: AuditLog, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._visitors = visitors
        self._audit = audit
        self._pause = pause
        self._judging = 0

    async def log_in(self, request: Request, caller: Principal) -> Response:
        """Begin a session, if the key is right."""
        headers = read_headers(request.scope["headers"])
        check_page(headers)
        key = (await _BODY.read(request, _BODY_LIMIT)).key
        if self._judging >= MOST_WRONG:
            raise TooManyLogins("Too many logins with wrong keys are under way. Try again in a second.")
        self._judging += 1
        try:
            begun = await self._visitors.begin(key, is_https=self._visitors.is_https(headers, request.scope))
            if begun is None:
                client = request.client
                _log.warning("login_failed", address=client.host if client else None)
                await self._pause(WRONG_SECONDS)
                raise Unauthorized("The API key is not valid.")
        finally:
            self._judging -= 1
        person, cookie = begun
        await self._audit.write(Record(person.name, "session", "session.login", outcome="done"))
        return Response(status_code=204, headers={"Set-Cookie": cookie, "Cache-Control": "no-store"})

    async def log_out(self, request: Request, caller: Principal) -> Response:
        """Delete the cookie of this browser. Without a session there is nothing to end, and the answer is the same."""
        headers = read_headers(request.scope["headers"])
        check_page(headers)
        try:
            person = await self._visitors.recognize(headers, request.scope)
        except Unauthorized:
            person = None
        if person is not None and person.via == "session":
            await self._audit.write(Record(person.name, "session", "session.logout", outcome="done"))
        cookie = cleared_cookie(is_https=self._visitors.is_https(headers, request.scope))
        return Response(status_code=204, headers={"Set-Cookie": cookie, "Cache-Control": "no-store"})

    async def log_all_out(self, request: Request, caller: Principal) -> Response:
        """End all sessions of all replicas."""
        require(caller, "admin", None)
        await self._visitors.end_all()
        _log.info("sessions_ended", by=caller.name)
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

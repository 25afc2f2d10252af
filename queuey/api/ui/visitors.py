"""The people who use the page: known by the cookie of a session, or by the header of a trusted proxy.

A browser sends both by itself, also for a page of another site. So they count only on the routes that the page uses,
and a change needs two signs more that the page itself made the request.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Final

from starlette.types import Scope

from queuey.api.http.body import Headers
from queuey.api.ui.cookies import SESSION_SECONDS, cleared_cookie, session_cookie, set_cookie
from queuey.api.ui.settings import UiSettings
from queuey.errors import ForeignOrigin, Unauthorized
from queuey.protocol.credentials import Credentials, Principal
from queuey.services.access.session_secret import SessionSecret

PAGE_HEADER: Final = b"x-queuey-ui"
_ENDED: Final = "The session is not valid any more. Log in again."
_NOT_THE_PAGE: Final = "With a session, a change needs the header 'x-queuey-ui: 1'. A program sends an API key instead."
_FOREIGN: Final = "A page of another site may not change anything with a session."

PAGE_ROUTES: Final = frozenset(
    {
        "GET /v1/me",
        "GET /v1/stats",
        "GET /v1/types",
        "GET /v1/pulse",
        "GET /v1/audit",
        "GET /v1/events",
        "POST /v1/jobs",
        "GET /v1/jobs",
        "POST /v1/jobs/cancel",
        "POST /v1/jobs/retry",
        "POST /v1/jobs/delete",
        "GET /v1/jobs/{id}",
        "DELETE /v1/jobs/{id}",
        "POST /v1/jobs/{id}/cancel",
        "POST /v1/jobs/{id}/retry",
        "PUT /v1/jobs/{id}/payload",
        "GET /v1/jobs/{id}/explain",
        "GET /v1/jobs/{id}/log",
        "GET /v1/jobs/{id}/events",
        "GET /v1/queues",
        "GET /v1/queues/metrics",
        "GET /v1/queues/{name}",
        "POST /v1/queues/{name}/pause",
        "POST /v1/queues/{name}/resume",
        "POST /v1/queues/{name}/purge",
        "GET /v1/dlq",
        "GET /v1/dlq/groups",
        "POST /v1/dlq/replay",
        "POST /v1/dlq/delete",
        "GET /v1/workers",
        "POST /v1/workers/{name}/quiet",
        "POST /v1/schedules/preview",
        "GET /v1/schedules",
        "GET /v1/schedules/{name}",
        "PUT /v1/schedules/{name}",
        "DELETE /v1/schedules/{name}",
        "POST /v1/schedules/{name}/pause",
        "POST /v1/schedules/{name}/resume",
        "POST /v1/schedules/{name}/trigger",
        "POST /v1/schedules/{name}/backfill",
        "DELETE /ui/sessions",
    }
)
"""The routes on which a session counts."""


class Visitors:
    """Recognizes the people who use the page, and begins and ends their sessions."""

    def __init__(
        self,
        settings: UiSettings,
        credentials: Credentials,
        secret: SessionSecret,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.header = settings.header or b""
        """The name of the header of a proxy; b'', which no request has, if there is none."""
        self._settings = settings
        self._credentials = credentials
        self._secret = secret
        self._clock = clock
        self._people = {person.name: person for person in settings.people}

    async def recognize(self, headers: Headers, scope: Scope) -> Principal | None:
        """Return who makes a request without a key, or None if nobody is known.

        Raises Unauthorized for a cookie that is not valid any more, and ForeignOrigin for a change that the page did
        not make.
        """
        is_https = self.is_https(headers, scope)
        cookie = session_cookie(headers, is_https=is_https)
        if cookie is not None:
            person = await self._of_session(cookie)
            if person is None:
                raise Unauthorized(_ENDED, cookie=cleared_cookie(is_https=is_https))
        else:
            person = self._of_proxy(headers, scope)
            if person is None:
                return None
        if scope["method"] not in ("GET", "HEAD"):
            check_page(headers)
        return person

    def narrowed(self, person: Principal) -> Principal:
        """Return a person with the rights that the page gives."""
        return person.reading() if self._settings.mode == "read-only" else person

    async def _of_session(self, cookie: str) -> Principal | None:
        asked_at, secret = self._secret.now(), await self._secret.current()
        person = self._credentials.of_session(cookie, secret, self._clock()) if secret else None
        if person is None:  # the secret may be newer
            secret = await self._secret.since(asked_at)
            person = self._credentials.of_session(cookie, secret, self._clock()) if secret else None
        return person

    def _of_proxy(self, headers: Headers, scope: Scope) -> Principal | None:
        if not self.header or not self._is_trusted(scope):
            return None
        names = [value for name, value in scope["headers"] if name == self.header]
        if len(names) != 1:  # the proxy has added its own to one that came from outside
            return None
        return self._people.get(names[0].decode("latin-1"))

    def _is_trusted(self, scope: Scope) -> bool:
        """Return whether the connection itself comes from a trusted proxy. No header says where it comes from."""
        if not self._settings.trusted or scope.get("client") is None:
            return False
        try:
            address = ipaddress.ip_address(scope["client"][0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._settings.trusted)

    def is_https(self, headers: Headers, scope: Scope) -> bool:
        """Return whether the browser uses HTTPS: by the settings, as seen, or as a trusted proxy says."""
        if self._settings.is_https or scope.get("scheme") == "https":
            return True
        return headers.get(b"x-forwarded-proto") == b"https" and self._is_trusted(scope)

    async def begin(self, key: str, *, is_https: bool) -> tuple[Principal, str] | None:
        """Return the owner of a key and the header Set-Cookie of a new session, or None for an unknown key."""
        expires_at = int(self._clock()) + SESSION_SECONDS
        if self._credentials.identify(key) is None:
            return None
        begun = self._credentials.new_session(key, await self._secret.made(), expires_at)
        return begun and (begun[0], set_cookie(begun[1], is_https=is_https))

    async def end_all(self) -> None:
        """End all sessions of this store. Other replicas follow within a few seconds."""
        await self._secret.renew()


def check_page(headers: Headers) -> None:
    """Check that the page itself makes a request that changes something. Raises ForeignOrigin.

    Browsers send Sec-Fetch-Site over HTTPS and to localhost only. Elsewhere they send the Origin with each change.
    """
    if headers.get(PAGE_HEADER) != b"1":
        raise ForeignOrigin(_NOT_THE_PAGE)
    site = headers.get(b"sec-fetch-site")
    if site is None:
        host = headers.get(b"host", b"")
        if headers.get(b"origin") not in (b"http://" + host, b"https://" + host):
            raise ForeignOrigin(_FOREIGN)
    elif site != b"same-origin":
        raise ForeignOrigin(_FOREIGN)

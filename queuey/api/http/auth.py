"""Admission of requests by their API keys and scopes, and on a server without keys by their host and origin.

A server without keys is open to every client that reaches its loopback address. A web page can be such a client. It can
use a host name that points there, which the Host header shows, or post a form, which the Origin header shows. Such a
form also reaches the routes that a server with keys has opened to `anonymous`, in the network of the person who views
the page.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from starlette.types import Scope

from queuey.api.http.body import Headers
from queuey.api.ui.visitors import Visitors
from queuey.errors import Forbidden, ForeignOrigin, Unauthorized, WrongHost
from queuey.protocol.credentials import DEV_KEY, Credentials, Principal, is_loopback

READING: Final = ("GET", "HEAD", "OPTIONS")
_HOW: Final = "Send one as 'x-api-key: <key>' or 'Authorization: Bearer <key>'."
_HOW_OPEN: Final = f"The key of a server without keys is {DEV_KEY}: send 'x-api-key: {DEV_KEY}'."


class Gate:
    """Checks the credentials of requests. Without `visitors` no session counts, and no header of a proxy."""

    def __init__(self, credentials: Credentials, visitors: Visitors | None = None) -> None:
        self._visitors = visitors
        self._credentials = credentials
        self._open = credentials.open
        self._how = _HOW_OPEN if credentials.open else _HOW
        self._anonymous = credentials.anonymous
        self._wants_keys = not credentials.anonymous.grants

    def check_origin(self, headers: Headers, method: str) -> None:
        """Check the host name on a server without keys, and refuse changes without a key by a page of another site.

        Everyone knows the key of a server without keys, so it does not count. Raises WrongHost or ForeignOrigin.
        """
        if self._wants_keys:
            return
        host = headers.get(b"host", b"")
        if self._open and host and not _is_local(host):
            raise WrongHost(
                "A server without API keys answers only as localhost or 127.0.0.1. Set an API key to use other names."
            )
        origin = headers.get(b"origin")
        if origin is None or method in READING or (not self._open and _key(headers) is not None):
            return
        if origin not in (b"http://" + host, b"https://" + host):
            raise ForeignOrigin("A page of another site may not change anything without an API key. Send one.")

    def admit(self, headers: Headers, scope: str) -> Principal:
        """Return the caller, which has the scope over at least one queue. Raises Unauthorized or Forbidden."""
        return self._with_scope(self._by_key(headers), scope)

    async def admit_visitor(self, headers: Headers, scope: str, asgi: Scope) -> Principal:
        """Return the caller of a route of the page, which may have a session in place of a key. Raises like `admit`."""
        return self._with_scope(await self.identify(headers, asgi), scope)

    async def identify(self, headers: Headers, asgi: Scope) -> Principal:
        """Return the caller of a route of the page, whatever its scopes. Raises Unauthorized or ForeignOrigin."""
        if self.may_be_visitor(headers) and self._visitors is not None:
            person = await self._visitors.recognize(headers, asgi)
            if person is not None:
                return self._visitors.narrowed(self._with_anonymous(person))
        return self._by_key(headers)

    def may_be_visitor(self, headers: Headers) -> bool:
        """Return whether a session or a proxy may say who the caller is: there is no key, and something else."""
        if self._visitors is None or not (b"cookie" in headers or self._visitors.header in headers):
            return False
        return _key(headers) is None

    def _by_key(self, headers: Headers) -> Principal:
        key = _key(headers)
        if key is None:
            return self._anonymous
        known = self._credentials.identify(key)
        if known is None:
            raise Unauthorized(f"The API key is not valid. {self._how}")
        return self._with_anonymous(known)

    def _with_scope(self, caller: Principal, scope: str) -> Principal:
        for grant in caller.grants:
            if grant.scope in (scope, "admin"):
                return caller
        if caller.via == "none":
            raise Unauthorized(f"This request needs an API key with the scope {scope}. {self._how}")
        raise Forbidden(f"The API key lacks the scope {scope}.")

    def _with_anonymous(self, known: Principal) -> Principal:
        """Add the grants of `anonymous`, so that a key never allows less than no key."""
        if not self._anonymous.grants:
            return known
        return Principal(known.name, known.grants + self._anonymous.grants, known.via)


def require(caller: Principal, scope: str, queue: str | None) -> None:
    """Check that the caller has the scope over this queue; None = over all. Raises Forbidden."""
    if not caller.allows(scope, queue):
        over = "all queues" if queue is None else f"the queue {queue}"
        raise Forbidden(f"The API key lacks the scope {scope} over {over}.")


def _key(headers: Headers) -> str | None:
    value = headers.get(b"x-api-key")
    if value:
        return value.decode("latin-1")
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip().decode("latin-1") or None
    return None


@lru_cache(maxsize=64)
def _is_local(host: bytes) -> bool:
    return is_loopback(_without_port(host.decode("latin-1")))


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]

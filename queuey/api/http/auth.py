"""Who may send a request: keys and scopes, and on a server without keys, which pages of a browser.

A server without keys is open to whoever reaches its loopback address. A web page can be among them: by a name that it
lets point there (the Host header gives that away), or by a form that it posts (the Origin header does). Such a form
also reaches what a server with keys has opened by `anonymous`, in the network of whoever looks at the page.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from queuey.api.http.body import Headers
from queuey.errors import Forbidden, ForeignOrigin, Unauthorized, WrongHost
from queuey.protocol.credentials import Credentials, Principal, is_loopback

READING: Final = ("GET", "HEAD", "OPTIONS")
_HOW: Final = "Send one as 'x-api-key: <key>' or 'Authorization: Bearer <key>'."


class Gate:
    """Applies the credentials to requests."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._open = credentials.open
        self._anonymous = credentials.anonymous
        self._wants_keys = not credentials.anonymous.grants

    def check_origin(self, headers: Headers, method: str) -> None:
        """On a server without keys no other host name; and without a key no writes from a page of another site.

        The key of a server without keys is known to all, and counts as none. Raises WrongHost or ForeignOrigin.
        """
        if self._wants_keys:
            return
        host = headers.get(b"host", b"")
        if self._open and host and not _is_local(host):
            raise WrongHost("A server without API keys answers only as localhost or 127.0.0.1. Set a key to open it.")
        origin = headers.get(b"origin")
        if origin is None or method in READING or (not self._open and _key(headers) is not None):
            return
        if origin not in (b"http://" + host, b"https://" + host):
            raise ForeignOrigin("Without an API key no changes are taken from a page of another site.")

    def admit(self, headers: Headers, scope: str) -> Principal:
        """Who calls; they have the scope over one queue at least. Raises Unauthorized or Forbidden."""
        key = _key(headers)
        if key is None:
            caller = self._anonymous
        else:
            known = self._credentials.identify(key)
            if known is None:
                raise Unauthorized(f"The API key is not valid. {_HOW}")
            caller = self._with_anonymous(known)
        for grant in caller.grants:
            if grant.scope in (scope, "admin"):
                return caller
        if key is None:
            raise Unauthorized(f"This needs an API key with the scope {scope}. {_HOW}")
        raise Forbidden(f"The API key lacks the scope {scope}.")

    def _with_anonymous(self, known: Principal) -> Principal:
        """What needs no key, a key does not take away."""
        if not self._anonymous.grants:
            return known
        return Principal(known.name, known.grants + self._anonymous.grants)


def require(caller: Principal, scope: str, queue: str | None) -> None:
    """Check a scope over this queue; None = over all. Raises Forbidden."""
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

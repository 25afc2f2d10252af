"""The cookie of a session of the page.

Over HTTPS it has the name `__Host-queuey` and the mark `Secure`: then the browser takes it only from this host, and
sends it only over HTTPS. Over HTTP browsers refuse such a cookie, so it has the name `queuey`.
"""

from __future__ import annotations

from typing import Final

from queuey.api.http.body import Headers

SESSION_SECONDS: Final = 43_200
_PLAIN: Final = "queuey"
_SECURE: Final = "__Host-queuey"
_ATTRIBUTES: Final = "HttpOnly; SameSite=Strict; Path=/"


def session_cookie(headers: Headers, *, is_https: bool) -> str | None:
    """Return the value of the session's cookie. `is_https`: only one that came over HTTPS counts."""
    found: dict[str, str] = {}
    for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals and name in (_PLAIN, _SECURE):
            found.setdefault(name, value)
    secure = found.get(_SECURE)
    return secure if secure is not None or is_https else found.get(_PLAIN)


def set_cookie(value: str, *, is_https: bool) -> str:
    """Return the header Set-Cookie that begins a session."""
    return f"{_name(is_https)}={value}; Max-Age={SESSION_SECONDS}; {_attributes(is_https)}"


def cleared_cookie(*, is_https: bool) -> str:
    """Return the header Set-Cookie that deletes the cookie."""
    return f"{_name(is_https)}=; Max-Age=0; {_attributes(is_https)}"


def _name(is_https: bool) -> str:
    return _SECURE if is_https else _PLAIN


def _attributes(is_https: bool) -> str:
    return f"{_ATTRIBUTES}; Secure" if is_https else _ATTRIBUTES

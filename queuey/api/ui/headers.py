"""The security headers of everything under /ui/.

The page gets no HTML from data and no script from elsewhere. The policy makes the browser hold it to that: a string
becomes a script only through the policy `queuey` of Trusted Types, which is for the URL of the page's own worker.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY: Final = (
    "default-src 'none'",
    "script-src 'self'",
    "worker-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types queuey",
)


def ui_headers(frame_ancestors: Sequence[str] = (), *, is_file: bool = False) -> dict[str, str]:
    """Return the headers of an answer under /ui/. `frame_ancestors`: the origins whose pages may frame it.

    A file may be kept and is asked for again with its ETag. Everything else is data, which no cache may keep.
    """
    framed = " ".join(frame_ancestors) or "'none'"
    headers = {
        "Content-Security-Policy": "; ".join((*_POLICY, f"frame-ancestors {framed}")),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-cache" if is_file else "no-store",
    }
    if not frame_ancestors:
        headers["X-Frame-Options"] = "DENY"
    return headers


class Covered:
    """An ASGI application whose answers under /ui/ have these headers, errors too. Those that it sets itself stay."""

    def __init__(self, app: ASGIApp, frame_ancestors: Sequence[str]) -> None:
        self._app = app
        headers = ui_headers(frame_ancestors)
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        def cover(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", ()))
                names = {name.lower() for name, _ in own}
                message["headers"] = own + [header for header in self._headers if header[0] not in names]
            return send(message)

        await self._app(scope, receive, cover)

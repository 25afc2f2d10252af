"""Answers with a weak ETag, and 304 when the client has the answer already (RFC 9110)."""

from __future__ import annotations

import hashlib
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from queuey.api.http.endpoints import reply

_DIGEST_BYTES: Final = 12


def reply_unless_known(request: Request, value: object, headers: dict[str, str] | None = None) -> Response:
    """Return the response of `reply` with an ETag of its text; or 304 when If-None-Match has that ETag."""
    response = reply(value, headers=headers)
    tag = f'"{hashlib.blake2b(response.body, digest_size=_DIGEST_BYTES).hexdigest()}"'
    response.headers["ETag"] = f"W/{tag}"
    if not _names(request.headers.get("if-none-match", ""), tag):
        return response
    kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    return Response(status_code=304, headers=kept)


def _names(if_none_match: str, tag: str) -> bool:
    """Return whether the tag is in the list, with W/ or without (a weak comparison); `*` is any tag."""
    given = [entry.strip().removeprefix("W/") for entry in if_none_match.split(",")]
    return tag in given or given == ["*"]

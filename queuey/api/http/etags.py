"""Answers with a weak ETag, and 304 when the client has the answer already (RFC 9110)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from queuey.api.http.endpoints import reply
from queuey.errors import PreconditionFailed

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


def precondition(request: Request) -> Callable[[str], None]:
    """Return a check of what If-Match and If-None-Match ask of the strong ETag of a thing that is to be changed.

    It takes the ETag without quotes, '' if there is no such thing, and raises PreconditionFailed.
    """
    wanted, unwanted = request.headers.get("if-match"), request.headers.get("if-none-match")

    def check(tag: str) -> None:
        shown = f"It has the ETag {chr(34)}{tag}{chr(34)} now." if tag else "There is none now."
        if wanted is not None and not (tag and (_is_any(wanted) or f'"{tag}"' in _entries(wanted))):
            raise PreconditionFailed(f"If-Match does not hold. {shown} Get it again, and decide.")
        if unwanted is not None and tag and (_is_any(unwanted) or f'"{tag}"' in _entries(unwanted)):
            raise PreconditionFailed(f"If-None-Match does not hold. {shown}")

    return check


def _is_any(header: str) -> bool:
    return header.strip() == "*"


def _entries(header: str) -> list[str]:
    return [entry.strip() for entry in header.split(",")]

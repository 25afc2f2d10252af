"""Reading the headers and the body of a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.types import Receive

from queuey.errors import Fault, Invalid, TooLarge, UnsupportedMedia

Headers = dict[bytes, bytes]
"""Lower-case names and their values. A header that came twice has its last value."""

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
_MAX_NOTHING: Final = 1000
"""The maximum number of bytes that are read of a body where none is allowed."""


class ClientDisconnected(Exception):
    """The client closed the connection before its request was complete. Nobody waits for an answer."""


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    return dict(raw)


def media_type(headers: Headers, *accepted: str) -> str:
    """Return the one of the accepted media types that the body has, or the first if the request names none.

    `application/vnd.example+json` counts as JSON. Raises UnsupportedMedia.
    """
    value = headers.get(b"content-type")
    if value is None or value == b"application/json":
        return accepted[0]
    essence, _, parameters = value.decode("latin-1").lower().partition(";")
    essence = essence.strip()
    if essence.startswith("application/") and essence.endswith("+json"):
        essence = JSON
    if essence in accepted and _is_utf8(parameters):
        return essence
    wanted = " or ".join(accepted)
    raise UnsupportedMedia(f"Send the body with the header 'Content-Type: {wanted}', in UTF-8.")


def _is_utf8(parameters: str) -> bool:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8", "us-ascii"):
            return False
    return True


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """Return the whole body; at most `limit` bytes and one chunk are kept in memory.

    Raises TooLarge or ClientDisconnected.
    """
    length = headers.get(b"content-length")
    if length is not None and (len(length) > 18 or not length.isdigit() or int(length) > limit):
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    return await _read_chunks(body, receive, limit)


async def _read_chunks(first: bytes, receive: Receive, limit: int) -> bytes:
    body = bytearray(first)
    more = True
    while more:
        if len(body) > limit:
            raise _too_large(limit)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if len(body) > limit:
        raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than the {limit} bytes that are allowed.")


async def refuse_body(headers: Headers, receive: Receive) -> None:
    """Check that the request has no body. An empty object is accepted, since it has no content.

    Raises Invalid, TooLarge or ClientDisconnected.
    """
    if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
        return
    body = await read_body(headers, receive, _MAX_NOTHING)
    if body.strip() not in (b"", b"{}"):
        raise Invalid("This route takes no body. Leave it out.", [Fault("", "is not allowed here; leave it out")])

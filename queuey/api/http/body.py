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
_CODINGS: Final = (b"content-encoding", b"transfer-encoding")
_MAX_NOTHING: Final = 1000
"""The maximum number of bytes that are read of a body where none is allowed."""

_SHOWN: Final = 64
"""The maximum number of characters of a header that an error repeats."""


class ClientDisconnected(Exception):
    """The client closed the connection before its request was complete. Nobody waits for an answer."""


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    return dict(raw)


def media_type(headers: Headers, *accepted: str) -> str:
    """Return the one of the accepted media types that the body has, or the first if the request names none.

    `application/vnd.example+json` counts as JSON. Raises UnsupportedMedia, also for a compressed body.
    """
    for name in _CODINGS:
        if name in headers:
            _check_coding(headers[name])
    value = headers.get(b"content-type")
    if value is None or value == b"application/json":
        return accepted[0]
    essence, _, parameters = value.decode("latin-1").lower().partition(";")
    essence = essence.strip()
    if essence.startswith("application/") and essence.endswith("+json"):
        essence = JSON
    wanted = f"Send the body with the header 'Content-Type: {' or '.join(accepted)}', in UTF-8."
    if essence not in accepted:
        raise UnsupportedMedia(f"The content type {_shown(essence)} is not supported here. {wanted}")
    if charset := _other_charset(parameters):
        raise UnsupportedMedia(f"The charset {_shown(charset)} is not supported. {wanted}")
    return essence


def _check_coding(value: bytes) -> None:
    """Raise UnsupportedMedia if a body is compressed. `identity` is the name for no coding."""
    for coding in value.decode("latin-1").lower().split(","):
        if coding.strip() not in ("", "identity", "chunked"):
            raise UnsupportedMedia(
                f"The encoding {_shown(coding.strip())} of the body is not supported. Send the body uncompressed.",
                is_encoding=True,
            )


def _other_charset(parameters: str) -> str | None:
    """Return the charset that the parameters name if it is not UTF-8."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        charset = value.strip().strip('"')
        if name.strip() == "charset" and charset not in ("utf-8", "utf8", "us-ascii"):
            return charset
    return None


def _shown(value: str) -> str:
    return repr(value[:_SHOWN])


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

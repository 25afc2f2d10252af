"""Reading a small JSON body into a Struct."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import Request

from queuey.api.http.body import JSON, media_type, read_body, read_headers
from queuey.errors import Malformed
from queuey.protocol.allowed import form_of
from queuey.protocol.json.checks import check_text, decode_body
from queuey.protocol.schema_faults import Check

MAX_NESTING: Final = 10

Body = TypeVar("Body", bound=Struct)


class JsonBody(Generic[Body]):
    """Reads the bodies of one route.

    `words`: by JSON pointer, the allowed values if a type does not say enough. `checks`: of what the type cannot check.
    `needed`: an empty body is refused; else it counts as `{}`.
    """

    def __init__(
        self, kind: type[Body], words: Mapping[str, str] | None = None, *checks: Check, needed: bool = True
    ) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._checks = checks
        self._needed = needed
        self._form = form_of(kind, "The body", words)

    async def read(self, request: Request, limit: int) -> Body:
        """Return the body, of at most `limit` bytes. Raises Malformed, Invalid, TooLarge or UnsupportedMedia."""
        headers = read_headers(request.scope["headers"])
        media_type(headers, JSON)
        text = await read_body(headers, request.receive, limit)
        if not text or text.isspace():
            if self._needed:
                raise Malformed("The body is empty. Send a JSON object.")
            text = b"{}"
        check_text(text, MAX_NESTING)
        return decode_body(self._decoder, text, self._form, *self._checks)

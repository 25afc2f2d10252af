"""GET /docs: Swagger UI, to read and try the API. All of its files come from this server.

The files are those of the package swagger-ui-bundle. Its Swagger UI reads OpenAPI up to 3.0, so the page gets the
description in that version (docs/adr/0010-api-description.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from queuey.api.http.auth import Gate
from queuey.api.http.endpoints import Endpoint, Guarded
from queuey.api.http.operations import Media, Operation
from queuey.api.openapi.description import Description
from queuey.api.openapi.trying import for_trying
from queuey.api.openapi.v3_0 import downgraded
from queuey.protocol.credentials import Principal

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Queuey</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/page.js"></script>
</body>
</html>
"""
_START: Final = """SwaggerUIBundle({
  url: "docs/openapi.json",
  dom_id: "#page",
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
});
"""
_ASSETS: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def docs_endpoints(gate: Gate, description: Description) -> Sequence[Endpoint]:
    """Return the endpoints of the page and its files. They need no key, since they are the same on every server."""
    page = Docs(description)
    routes = {
        "/docs": ("text/html", page.page),
        "/docs/page.js": ("text/javascript", page.start),
        "/docs/openapi.json": ("application/json", page.description),
        **{f"/docs/{name}": (kind, page.asset) for name, kind in _ASSETS.items()},
    }
    return [
        Guarded("GET", path, None, gate, answer, Operation(path, "Swagger UI", {200: Media(kind, "")}, shown=False))
        for path, (kind, answer) in routes.items()
    ]


class Docs:
    """The page, its files, and the description in OpenAPI 3.0, which is made when a client first asks for it."""

    def __init__(self, description: Description) -> None:
        self._description = description
        self._made: bytes | None = None

    async def page(self, request: Request, caller: Principal) -> Response:
        """Answer GET /docs."""
        return Response(_PAGE, headers=_HEADERS, media_type="text/html")

    async def start(self, request: Request, caller: Principal) -> Response:
        """Return the script that starts Swagger UI."""
        return Response(_START, headers=_HEADERS, media_type="text/javascript")

    async def description(self, request: Request, caller: Principal) -> Response:
        """Return the description as OpenAPI 3.0."""
        if self._made is None:
            self._made = msgspec.json.encode(downgraded(for_trying(self._description.document())))
        return Response(self._made, headers=_HEADERS, media_type="application/json")

    async def asset(self, request: Request, caller: Principal) -> Response:
        """Return a file of the package. Only the names of routes are possible, so a client cannot read other files."""
        from swagger_ui_bundle import swagger_ui_path

        name = request.url.path.rpartition("/")[2]
        return FileResponse(Path(swagger_ui_path) / name, headers=_HEADERS, media_type=_ASSETS[name])

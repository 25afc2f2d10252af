"""GET /ui/: the files of the page, and what to do where its third-party files are missing.

Our files lie in page/ as they are. The others are put into vendor/ when Queuey is built (hatch_build.py). All are read
and compressed once, when the first of them is asked for.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from queuey.api.http.auth import Gate
from queuey.api.http.endpoints import Endpoint, Guarded, no_route
from queuey.api.http.operations import Media, Operation
from queuey.api.ui.headers import ui_headers
from queuey.errors import NotFound
from queuey.protocol.credentials import Principal

HERE: Final = Path(__file__).parent
PATH: Final = "/ui/{path:path}"
KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
VENDORED: Final = ("preact.js", "hooks.js", "htm.js", "uplot.js", "uplot.css", "NOTICE.txt")
_TAG_BYTES: Final = 12
_MISSING: Final = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Queuey</title><link rel="icon" href="data:,"></head>
<body>
<h1>The page is not in this installation</h1>
<p>Queuey itself runs. The page needs files from npm, which the build could not fetch: {missing}.</p>
<p>Install Node.js 20 or newer with npm, and install Queuey again. In a checkout, run <code>python hatch_build.py</code>
and start the server again.</p>
<p>Without the page, <a href="../docs">the API</a> shows all that it would show.</p>
</body>
</html>
"""


class File(NamedTuple):
    """A file as it is sent. `packed`: by gzip."""

    kind: str
    etag: str
    data: bytes
    packed: bytes


def page_endpoint(gate: Gate, frame_ancestors: Sequence[str] = ()) -> Endpoint:
    """Return the endpoint of the page's files. They need no key, since they tell nothing of the jobs."""
    doc = Operation("page", "The page", {200: Media("text/html", "")}, shown=False)
    return Guarded("GET", PATH, None, gate, Files(frame_ancestors).show, doc)


async def leads_to_page(scope: Scope, receive: Receive, send: Send) -> None:
    """Send a browser that asks for / or /ui to the page, and answer all other unknown paths with 404.

    The URL is relative, so that the prefix of a proxy stays.
    """
    request = Request(scope)
    path = request.url.path
    if path not in ("/", "/ui") or scope["method"] != "GET" or "text/html" not in request.headers.get("accept", ""):
        await no_route(scope, receive, send)
        return
    query = f"?{request.url.query}" if request.url.query else ""
    response = RedirectResponse(f"ui/{query}", headers={**ui_headers(is_file=True), "Vary": "Accept"})
    await response(scope, receive, send)


class Files:
    """The files of the page by their paths below /ui/."""

    def __init__(self, frame_ancestors: Sequence[str] = (), folder: Path = HERE) -> None:
        self._headers = ui_headers(frame_ancestors, is_file=True)
        self._folder = folder
        self._files: Mapping[str, File] | None = None

    async def show(self, request: Request, caller: Principal) -> Response:
        """Answer GET /ui/{path}."""
        if self._files is None:
            self._files = read_files(self._folder)
        file = self._files.get(request.path_params["path"])
        if file is None:
            raise NotFound("The page has no such file.")
        headers = {**self._headers, "ETag": file.etag, "Vary": "Accept-Encoding"}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(file.data, headers=headers, media_type=file.kind)
        return Response(file.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.kind)


def read_files(folder: Path = HERE) -> Mapping[str, File]:
    """Return the files by their paths below /ui/; only a page that says what is missing, if something is."""
    vendor = folder / "vendor"
    missing = [name for name in VENDORED if not (vendor / name).is_file()]
    if missing:
        return {"": _file(".html", _MISSING.format(missing=", ".join(missing)).encode())}
    page = {path.name: path for path in sorted((folder / "page").iterdir()) if path.suffix in KINDS}
    paths = {**page, **{f"vendor/{name}": vendor / name for name in VENDORED}}
    files = {name: _file(path.suffix, path.read_bytes()) for name, path in paths.items()}
    files[""] = files.pop("index.html")
    return files


def _file(suffix: str, data: bytes) -> File:
    digest = hashlib.blake2b(data, digest_size=_TAG_BYTES).hexdigest()
    return File(KINDS[suffix], f'"{digest}"', data, gzip.compress(data, mtime=0))

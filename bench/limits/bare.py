"""The least that an HTTP server can do for the request that takes a job: read it, and answer as Queuey would.

`python -m bench.limits.bare uvicorn|starlette|clock` serves on a free port and prints where, once it listens.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bench import cores, http_load
from bench.figures import filling
from bench.servers import PLAN, ended
from queuey.protocol import ids
from queuey.server.http import listener

ENQUEUE: Final = http_load.post("/v1/jobs", filling.body().encode())
"""A request as the one that Queuey is measured with."""
START_SECONDS: Final = 20

_JOB_ID: Final = ids.new_id()
_REPLY: Final = {"job_id": _JOB_ID, "deduplicated": False}
_BODY: Final = json.dumps(_REPLY, separators=(",", ":")).encode()
_HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_BODY)).encode()),
    (b"location", b"/v1/jobs/" + _JOB_ID.encode()),
]


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI and nothing else."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


async def clock(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers when it was called, in ns of the system-wide monotonic clock."""
    now = str(time.monotonic_ns()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(now)).encode())]})
    await send({"type": "http.response.body", "body": now})


async def _submit(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse(_REPLY, headers={"location": f"/v1/jobs/{_JOB_ID}"})


APPS: Final[dict[str, ASGIApp]] = {
    "uvicorn": bare,
    "starlette": Starlette(routes=[Route("/v1/jobs", _submit, methods=["POST"])]),
    "clock": clock,
}


class _Server(uvicorn.Server):
    """uvicorn set as Queuey sets its own (queuey/server/http/listener.py), with its own HTTP protocol."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=listener.BACKLOG,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for bound in sockets or ():
            print(bound.getsockname()[1], flush=True)


@contextmanager
def serving(kind: str, folder: Path) -> Iterator[int]:
    """The port of such a server on 127.0.0.1, in a process of its own, on the server's core."""
    log = folder / f"{kind}.log"
    with ended([sys.executable, "-m", "bench.limits.bare", kind], log) as process:
        give_up_at = time.monotonic() + START_SECONDS
        while not (port := log.read_text()).endswith("\n"):
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"the {kind} server did not start:\n{port}")
            time.sleep(0.01)
        cores.pin(process.pid, PLAN.server)
        yield int(port)


if __name__ == "__main__":
    _Server(APPS[sys.argv[1]]).run([socket.create_server(("127.0.0.1", 0), backlog=listener.BACKLOG)])

"""A server that leases a few jobs once, and answers as it is told to: for what a real one does not do on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

RESET: Final = 0
"""In place of a status: the connection ends without an answer."""
JOB: Final = (
    '{"id":"J%d","token":"t","type":"text.reverse","payload":{"text":"abc"},"attempt":1,'
    '"lease_expires_at":"2030-01-01T00:00:00Z"}'
)


@dataclass
class ScriptedLeases:
    """jobs: how many are leased at once. statuses: of the first answers on a path, before those that say yes.

    bodies: what came on it, in order.
    """

    jobs: int
    statuses: dict[str, list[int]]
    bodies: dict[str, list[str]] = field(default_factory=dict)
    url: str = ""

    def answer(self, path: str, body: str) -> tuple[int, str]:
        seen = self.bodies.setdefault(path, [])
        seen.append(body)
        statuses = self.statuses.get(path, [])
        status = statuses[len(seen) - 1] if len(seen) <= len(statuses) else 200
        if status != 200:
            return status, json.dumps({"status": status, "detail": f"scripted {status}"})
        if path == "/v1/leases":
            count = self.jobs if len(seen) == len(statuses) + 1 else 0
            return 200, f'{{"jobs":[{",".join(JOB % number for number in range(1, count + 1))}]}}'
        told = json.loads(body)
        done = [{"id": item["id"], "status": "ok"} for item in told.get("jobs", [told])]
        return 200, json.dumps({"results": done} if "jobs" in told else done[0])


@contextmanager
def scripted_leases(jobs: int = 1, **statuses: list[int]) -> Iterator[ScriptedLeases]:
    """Named by the last part of the path: leases, complete, fail, release."""
    paths = {"/v1/leases" + ("" if name == "leases" else f"/{name}"): told for name, told in statuses.items()}
    script = ScriptedLeases(jobs, paths)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            status, answer = script.answer(self.path, body)
            if status == RESET:
                return  # HTTP/1.0: the connection is closed
            self.send_response(status)
            self.send_header("content-length", str(len(answer.encode())))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test tells what came."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()

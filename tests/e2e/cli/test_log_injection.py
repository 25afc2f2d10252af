"""The log of a real server has one line for each event and no control sequences, whatever requests contain."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx
import pytest

from tests.support import jobs
from tests.support.serving import PATIENCE, ROOT, environment, eventually

FORGED: Final = '{"event": "forged", "level": "error"}'
EVIL: Final = f"evil\r\n{FORGED}\n2026-11-24T05:00:00Z [error    ] forged\x00\x1b[2J\x9b31m\x7f\u2028\u202e\r"
CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
LINE: Final = {"json": re.compile(r"\{.*\}"), "console": re.compile(r"\d{4}-\d\d-\d\dT\S+Z \[\w+ *\] \S.*| {4}.*")}
"""On the console, the lines of a traceback are indented, so that none looks like an event."""


class Logging:
    """A server that logs all events into a file."""

    def __init__(self, folder: Path, format: str) -> None:
        self.format = format
        self._path = folder / "log"
        command = [sys.executable, "-m", "queuey", "serve", "--port", "0", "--data-dir", str(folder / "data")]
        command += ["--app", jobs.PATH, "--log-level", "debug", "--log-format", format]
        with self._path.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(lambda: " started " in self.text or '"started"' in self.text or self.process.poll() is not None)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.text)
        assert found, self.text
        self.port = int(found[1])
        self.http = httpx.Client(base_url=found[0], headers={"x-api-key": "dev"})

    @property
    def text(self) -> str:
        return self._path.read_bytes().decode()

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")[:-1]

    def count(self, event: str) -> int:
        return sum(event in line for line in self.lines)

    def close(self) -> None:
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def run(self, job: dict[str, object]) -> None:
        """Submit a job, and wait until it has finished."""
        job_id = self.http.post("/v1/jobs", json=job).json()["job_id"]
        eventually(lambda: self.http.get(f"/v1/jobs/{job_id}").json()["finished_at"] is not None)


@pytest.fixture(scope="module", params=["json", "console"])
def logging(request: pytest.FixtureRequest) -> Iterator[Logging]:
    with tempfile.TemporaryDirectory(prefix="queuey-") as folder:
        server = Logging(Path(folder), request.param)
        try:
            yield server
        finally:
            server.close()


def send(logging: Logging, request: bytes) -> None:
    """Send bytes that no client library would send, and read the answer."""
    with socket.create_connection(("127.0.0.1", logging.port), PATIENCE) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65_536):
            pass


def check(logging: Logging) -> None:
    for line in logging.lines:
        assert not CONTROL.search(line), repr(line)
        assert LINE[logging.format].fullmatch(line), repr(line)
        if logging.format == "json":
            assert json.loads(line)["event"] != "forged"
        else:
            assert not line.startswith("2026-11-24T05:00:00Z")


def test_what_requests_say_forges_no_line(logging: Logging) -> None:
    path = quote(EVIL)
    for key in ("dev", EVIL.encode("ascii", "replace").decode()):
        headers = {"x-api-key": re.sub(r"[\r\n\x00]", "", key)}
        for method, target in [
            ("GET", f"/{path}"),
            ("GET", f"/v1/jobs/{path}"),
            ("POST", f"/v1/jobs/{path}/cancel"),
            ("POST", f"/v1/replay-dlq?limit={path}&{path}=1"),
            ("GET", f"/v1/queues/metrics?{path}"),
        ]:
            logging.http.request(method, target, headers=headers)
        for fields in [{"type": EVIL}, {"type": "echo", "dedupe_key": EVIL}, {"type": "echo", "queue": EVIL}]:
            assert logging.http.post("/v1/jobs", json=fields).status_code == 422
            logging.http.post("/v1/jobs/batch", json=[fields, fields])
        logging.http.post("/v1/jobs", json={"type": "echo", EVIL: EVIL})
        logging.http.post("/v1/jobs", content=EVIL.encode(), headers={"content-type": "application/json"})
    check(logging)


def test_what_is_no_http_forges_no_line(logging: Logging) -> None:
    raw = EVIL.encode()
    for request in [
        raw,
        b"GET /" + raw + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x1b[2J\x9b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + raw + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: \x9b31m\xe2\x80\xa8\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \x9b31m\r\nOrigin: \x9b31m\r\nUpgrade: \x9b31m\r\nConnection: upgrade\r\n\r\n",
        b"\x1b]0;title\x07 / HTTP/1.1\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;" + raw + b"\r\na\r\n" + raw,
    ]:
        send(logging, request)
    check(logging)


@pytest.mark.parametrize("where", ["loop", "thread", "process"])
def test_what_a_handler_says_forges_no_line(logging: Logging, where: str) -> None:
    before = logging.count("job_dead")
    logging.run({"type": f"shout.{where}", "payload": EVIL})
    eventually(lambda: logging.count("job_dead") > before)
    assert logging.count("forged") >= 3
    check(logging)

"""A server of the binary in the root file system, for try_it.py and places.py."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Final

from scripts.binary.bare_root import BareRoot

PATIENCE: Final = 60.0
KEY: Final = "dev"
_numbers: Final = itertools.count()


class Server:
    """A running server of the binary, in the root file system."""

    def __init__(
        self, root: BareRoot, *flags: str, command: str = "serve", file: str = "/queuey", **variables: str
    ) -> None:
        line = (file, command, "--port", "0", "--data-dir", f"/data/{command}", "--log-format", "json", *flags)
        self._log = root.folder / "tmp" / f"{command}-{next(_numbers)}.log"
        with self._log.open("w") as log:
            self.process = root.start(*line, variables=variables, stderr=log)
        self.pid = self.process.pid
        until(lambda: "started" in self.events() or self.process.poll() is not None, "the server starts")
        if "started" not in self.events():
            raise AssertionError(f"the server did not start: {self._log.read_text()}")
        self.url = self.events()["started"]["url"]

    def events(self) -> dict[str, Any]:
        """Return what it has logged, the last of each event."""
        lines = [line for line in self._log.read_text().splitlines(keepends=True) if line.startswith("{")]
        return {event["event"]: event for event in (json.loads(line) for line in lines if line.endswith("\n"))}

    def ask(self, path: str, body: object = None) -> Any:
        """Return the reply to a GET, or to a POST with this body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json", "x-api-key": KEY})
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return json.load(reply)

    def result(self, type: str, **fields: object) -> Any:
        """Run a job to its end, and return its result."""
        job = self.ask("/v1/jobs?wait=30", {"type": type, "payload": {}, **fields})
        assert job["status"] == "succeeded", job
        return job["result"]

    def status(self, job_id: str) -> str:
        """Return the status of a job."""
        return str(self.ask(f"/v1/jobs/{job_id}")["status"])

    def stop(self) -> None:
        """End it, and its store, by SIGTERM."""
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        assert code == 0, f"it ended with {code}: {self._log.read_text()[-2000:]}"

    def kill(self) -> None:
        """End it by SIGKILL. Its store goes on."""
        self.process.kill()
        self.process.wait(PATIENCE)


@contextlib.contextmanager
def serving(
    root: BareRoot, *flags: str, command: str = "serve", file: str = "/queuey", **variables: str
) -> Iterator[Server]:
    """A server that is ended at the end, unless it has ended before."""
    server = Server(root, *flags, command=command, file=file, **variables)
    yield server  # if it raises, all processes end with those of try_it.py
    if server.process.poll() is None:
        server.stop()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.05)


def say(text: str) -> None:
    """Report a step that has passed."""
    print(f"ok    {text}", flush=True)

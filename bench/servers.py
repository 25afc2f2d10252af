"""Starts `queuey serve` for a measurement and stops it again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from bench import cores

PLAN: Final = cores.plan()
"""Made before anything is pinned."""
STOP_SECONDS: Final = 20


class Served:
    """A running server: where it listens, its pid and its store's, and the data directory with the store's socket."""

    def __init__(self, url: str, data_dir: Path, pid: int, store_pid: int) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.host = host
        self.port = int(port)
        self.pid = pid
        self.store_pid = store_pid
        self.store_url = f"unix://{data_dir / 'valkey.sock'}"


@contextmanager
def server(data_dir: Path, *flags: str) -> Iterator[Served]:
    """`queuey serve --app bench.noop:app` on a free port, with more flags, and its embedded store, pinned to cores.

    Raises RuntimeError with its log."""
    command = [sys.executable, "-m", "queuey", "serve", "--app", "bench.noop:app", "--port", "0"]
    command += ["--data-dir", str(data_dir), "--log-format", "json", *flags]
    with (data_dir.parent / "server.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        try:
            url, store_pid = _started(process.stderr)
            cores.pin(process.pid, PLAN.server)
            cores.pin(store_pid, PLAN.store)
            yield Served(url, data_dir, process.pid, store_pid)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _started(stderr: IO[str]) -> tuple[str, int]:
    """Read the log up to the line that says where it listens. Returns that, and the store's process id."""
    seen = []
    store_pid = 0
    for line in stderr:
        seen.append(line)
        if '"store_started"' in line:
            store_pid = int(json.loads(line)["pid"])
        elif '"started"' in line:
            return str(json.loads(line)["url"] or "http://none:0"), store_pid
    raise RuntimeError("the server did not start:\n" + "".join(seen))

"""Starts `queuey serve` for a measurement and stops it again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

STOP_SECONDS: Final = 20


class Served:
    """A running server: where it listens, and the data directory with its store's socket."""

    def __init__(self, url: str, data_dir: Path) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.host = host
        self.port = int(port)
        self.store_url = f"unix://{data_dir / 'valkey.sock'}"


@contextmanager
def server(data_dir: Path, *flags: str) -> Iterator[Served]:
    """`queuey serve --app bench.noop:app` on a free port, with more flags. Raises RuntimeError with its log."""
    command = [sys.executable, "-m", "queuey", "serve", "--app", "bench.noop:app", "--port", "0"]
    command += ["--data-dir", str(data_dir), "--log-format", "json", *flags]
    with (data_dir.parent / "server.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        try:
            url = _started(process.stderr)
            yield Served(url or "http://none:0", data_dir)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _started(stderr: IO[str]) -> str | None:
    """Read the log up to the line that says where it listens."""
    seen = []
    for line in stderr:
        seen.append(line)
        if '"started"' in line:
            return str(json.loads(line)["url"] or "") or None
    raise RuntimeError("the server did not start:\n" + "".join(seen))

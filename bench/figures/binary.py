"""The binary of `make binary`: its size, and when the first job is done after a start."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final

from bench import cores
from bench.report import NotBuilt
from bench.servers import PLAN, ended, started

FILE: Final = Path(__file__).parents[2] / "dist" / "queuey"
REPLY_SECONDS: Final = 30
JOB: Final = json.dumps({"type": "text.reverse", "payload": {"text": "abc"}}).encode()


async def starts(folder: Path) -> tuple[float, float, float, float]:
    """Return the size in MB, and the seconds to the first job: of a first start, of a later one, without the binary."""
    if not FILE.exists():
        raise NotBuilt("dist/queuey is not built: make binary")
    place = Path(tempfile.mkdtemp(dir=places()))
    first, later = (first_job(folder / name, (str(FILE),), place) for name in ("first", "later"))
    installed = first_job(folder / "installed", (sys.executable, "-m", "queuey"), place)
    return FILE.stat().st_size / 1e6, first, later, installed


@functools.cache
def places() -> str:
    """Return a folder that is removed at the end: ext4 takes seconds for new files where many were just removed."""
    folder = tempfile.mkdtemp(prefix="queuey-bench-binary-")
    atexit.register(shutil.rmtree, folder)
    return folder


def first_job(folder: Path, program: tuple[str, ...], place: Path) -> float:
    """Return the seconds from before the start until the reply to the first job, which has run."""
    folder.mkdir()
    command = [*program, "serve", "--port", "0", "--log-format", "json", "--data-dir", str(folder / "data")]
    log = folder / "log"
    cores.pin(os.getpid(), PLAN.every)  # which the server inherits
    began = time.perf_counter()
    try:
        with ended(command, log, variables={"QUEUEY_UNPACK_DIR": str(place)}) as process:
            url = started(process, log)[0]
            headers = {"content-type": "application/json", "x-api-key": "dev"}
            request = urllib.request.Request(f"{url}/v1/jobs?wait={REPLY_SECONDS}", JOB, headers)
            with urllib.request.urlopen(request, timeout=REPLY_SECONDS) as reply:
                assert json.load(reply)["status"] == "succeeded"
            return time.perf_counter() - began
    finally:
        cores.pin(os.getpid(), PLAN.load)

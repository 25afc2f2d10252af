"""Commands in a terminal: it closes while jobs run (the kernel sends SIGHUP, and writes fail), and a key is pressed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.e2e.conftest import Serve
from tests.e2e.processes.test_closed_streams import answers
from tests.support import jobs
from tests.support.gate import Gate
from tests.support.serving import PATIENCE, ROOT, environment, eventually
from tests.support.store import free_port

TAKE_TERMINAL: Final = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A terminal whose only program is a command of queuey."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", "queuey", *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self._is_open = True

    def read_until(self, text: bytes) -> None:
        shown = b""
        while text not in shown:
            shown += os.read(self._master, 4096)  # an OSError when the program has ended

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def close(self) -> None:
        if self._is_open:
            os.close(self._master)
            self._is_open = False


@contextmanager
def running_in_terminal(*arguments: str) -> Iterator[Terminal]:
    with closing(Terminal(*arguments)) as terminal:
        try:
            yield terminal
        finally:
            if terminal.process.poll() is None:
                terminal.process.terminate()
                terminal.process.wait(PATIENCE)


def submit(url: str, job_type: str, payload: str) -> str:
    request = {"type": job_type, "payload": payload, "max_attempts": 1}
    return str(httpx.post(f"{url}/v1/jobs", json=request).json()["job_id"])


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_server_drains_and_handlers_may_print(serve: Serve, gate: Gate, folder: Path, processes: str) -> None:
    port, data = free_port(), folder / "data"
    url = f"http://127.0.0.1:{port}"
    flags = ("--port", str(port), "--data-dir", str(data), "--app", jobs.PATH, "--processes", processes)
    with running_in_terminal("serve", *flags) as terminal:
        eventually(lambda: answers(url))
        job_ids = [submit(url, f"print.{place}", gate.path) for place in ("thread", "process")]
        visitors = [await gate.visitor() for _ in job_ids]
        terminal.close()
        eventually(lambda: not answers(url))
        for visitor in visitors:
            visitor.let_go("printed")
        assert terminal.process.wait(PATIENCE) == 0
    after = serve("--roles", "api", data_dir=data)
    for job_id in job_ids:
        job = after.job(job_id)
        assert (job["status"], job["result"], job["attempts"], job["errors"]) == ("succeeded", "printed", 0, [])


async def test_a_worker_over_http_drains(serve: Serve, gate: Gate) -> None:
    server = serve("--roles", "api,reaper")
    with running_in_terminal("work", "--url", str(server.url), "--app", jobs.PATH) as terminal:
        job_id = server.submit("gate.loop", gate.path, max_attempts=1)
        visitor = await gate.visitor()
        terminal.close()
        visitor.let_go("finished")
        assert terminal.process.wait(PATIENCE) == 0
    job = server.job(job_id)
    assert (job["status"], job["result"], job["crashes"]) == ("succeeded", "finished", 0)


def test_the_live_view_ends_by_q(serve: Serve) -> None:
    server = serve()
    with running_in_terminal("top", "--url", str(server.url)) as terminal:
        terminal.read_until(b" waiting")
        terminal.press(b"x")
        terminal.read_until(b" waiting")
        terminal.press(b"q")
        assert terminal.process.wait(PATIENCE) == 0

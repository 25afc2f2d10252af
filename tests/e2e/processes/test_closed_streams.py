"""Servers and workers that are started with standard streams closed, as by `nohup queuey serve <&- &`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support import jobs
from tests.support.serving import PATIENCE, ROOT, environment, eventually

CLOSED = ("0", "1", "2", "012")


def start(closed: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a command of queuey with these descriptors closed and the others on /dev/null."""
    script = 'exec "$@" ' + " ".join(f"{number}>&-" for number in closed)
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "queuey", *arguments]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, env=environment(), stdin=null, stdout=null, stderr=null)


def on_null(pid: int, closed: str) -> bool:
    return {os.readlink(f"/proc/{pid}/fd/{number}") for number in closed} == {os.devnull}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def run_job(url: str) -> object:
    job_id = httpx.post(f"{url}/v1/jobs", json={"type": "echo.process", "payload": 1}).json()["job_id"]
    return httpx.get(f"{url}/v1/jobs/{job_id}?wait=20", timeout=PATIENCE + 5).json()["result"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("closed", CLOSED)
def test_a_server_runs_and_ends_in_order(folder: Path, closed: str, processes: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    flags = ("--port", str(port), "--data-dir", str(folder / "data"), "--app", jobs.PATH, "--processes", processes)
    server = start(closed, "serve", *flags)
    try:
        eventually(lambda: answers(url))
        assert on_null(server.pid, closed)
        assert run_job(url) == 1
        server.terminate()
        assert server.wait(PATIENCE) == 0
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait(PATIENCE)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("closed", ["0", "012"])
def test_a_worker_over_http_runs_and_ends_in_order(folder: Path, closed: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    flags = ("--port", str(port), "--data-dir", str(folder / "data"), "--roles", "api,reaper")
    server = start("", "serve", *flags)
    try:
        eventually(lambda: answers(url))
        worker = start(closed, "work", "--url", url, "--app", jobs.PATH)
        try:
            assert run_job(url) == 1
            assert on_null(worker.pid, closed)
        finally:
            worker.terminate()
            code = worker.wait(PATIENCE)
        assert code == 0
    finally:
        server.terminate()
        server.wait(PATIENCE)
